// The graph on its canvas: what is shown, drawing, moving, choosing, the passes.

// ---- what is shown ------------------------------------------------------------------------------------------------

const state = {
  view: "graph",
  stage: data.stages.length - 1,
  old: false,
  selected: null,
  toggled: new Map(), // by hand: key -> open
  zoom: 1,
  x: 0,
  y: 0,
  flame: null,
};
let scene = null,
  marks = new Map(),
  colours = {};
const trees = new Map();

const stageShown = () => (state.old && state.stage > 0 ? state.stage - 1 : state.stage);
const recordOf = (id) => recordsOf[stageShown()].get(id);

/** Groups that are open at first: as many, from outside, as leave the picture readable. */
function openAtFirst(root) {
  const open = new Set();
  let [visible, queue] = [root.children.length, root.children.filter((c) => c.children)];
  while (queue.length) {
    const group = queue.shift();
    if (visible + group.children.length > OPEN) continue;
    visible += group.children.length;
    open.add(group.key);
    queue.push(...group.children.filter((c) => c.children));
  }
  return open;
}

function rebuild(keep = true) {
  const stage = stageShown();
  if (!trees.has(stage)) {
    const root = treeOf(stage);
    trees.set(stage, { root, open: openAtFirst(root) });
  }
  const { root, open } = trees.get(stage);
  const anchor = keep && scene ? anchored() : null;
  scene = layout(root, (key) => state.toggled.get(key) ?? open.has(key));
  const { added, changed: other, removed } = changesOf(state.stage);
  marks = new Map(other.map((id) => [id, "changed"]));
  for (const id of state.old ? removed : added) marks.set(id, state.old ? "removed" : "added");
  if (anchor) holdAnchor(anchor);
  drawMap();
  draw();
}

/** An item and where it is on the screen: that selected, or the nearest to the middle. */
function anchored() {
  const [mx, my] = [canvas.clientWidth / 2, canvas.clientHeight / 2];
  let item = itemOf(state.selected);
  if (!item || !onScreen(item)) {
    const far = (i) => Math.abs(screenX(i.ax + i.w / 2) - mx) + Math.abs(screenY(i.ay + i.h / 2) - my);
    item = scene.items.reduce((best, i) => (i.box && (!best || far(i) < far(best)) ? i : best), null);
  }
  return item && { key: item.key, x: screenX(item.ax + item.w / 2), y: screenY(item.ay + Math.min(item.h, 20) / 2) };
}

function holdAnchor({ key, x, y }) {
  const item = shownItem(key);
  if (!item) return;
  state.x = x - (item.ax + item.w / 2) * state.zoom;
  state.y = y - (item.ay + Math.min(item.h, 20) / 2) * state.zoom;
}

const itemOf = (key) => (key === null ? null : scene.items.find((item) => item.key === key));

/** The item with a key, or the closed group that it is in. */
function shownItem(key) {
  const direct = itemOf(key);
  if (direct) return direct;
  const leaf = key?.startsWith("#") ? scene.byId.get(Number(key.slice(1))) : null;
  return leaf ? (leaf.stand ?? leaf) : null;
}

// ---- drawing ------------------------------------------------------------------------------------------------------

const canvas = $("canvas"),
  map = $("map");
const screenX = (x) => x * state.zoom + state.x,
  screenY = (y) => y * state.zoom + state.y;
const onScreen = (i) =>
  screenX(i.ax + i.w) > 0 &&
  screenX(i.ax) < canvas.clientWidth &&
  screenY(i.ay + i.h) > 0 &&
  screenY(i.ay) < canvas.clientHeight;

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["back", "ink", "dim", "line", "frame", "frame-fill", "select", "added", "changed", "removed", "light"];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

const fillOf = (item) =>
  item.box?.kind === "input" || item.box?.kind === "output"
    ? `hsl(${item.box.kind === "input" ? 210 : 140} 60% ${colours.light})`
    : item.box
      ? `hsl(${hue(item.box.family)} 45% ${colours.light})`
      : `hsl(220 12% ${colours.light})`;

function prepareCanvas(target) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h2] = [target.clientWidth, target.clientHeight];
  if (target.width !== Math.round(w * ratio) || target.height !== Math.round(h2 * ratio)) {
    target.width = Math.round(w * ratio);
    target.height = Math.round(h2 * ratio);
  }
  const context = target.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, w, h2);
  return context;
}

let waiting = false;
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    paint();
  });
}

function paint() {
  if (!scene || state.view !== "graph") return;
  const c = prepareCanvas(canvas);
  c.translate(state.x, state.y);
  c.scale(state.zoom, state.zoom);
  const frames = scene.items.filter((i) => i.open && i.parent && onScreen(i));
  for (const item of frames) drawFrame(c, item);
  drawSegments(c);
  for (const item of scene.items) if (!item.open && onScreen(item)) drawBox(c, item);
  paintMap();
}

function drawFrame(c, item) {
  c.fillStyle = colours["frame-fill"];
  c.strokeStyle = item.key === state.selected ? colours.select : colours.frame;
  c.lineWidth = item.key === state.selected ? 2.5 : 1;
  c.beginPath();
  c.roundRect(item.ax, item.ay, item.w, item.h, 6);
  c.fill();
  c.stroke();
  if (state.zoom < 0.25) return;
  c.fillStyle = colours.dim;
  c.font = "11px ui-monospace, monospace";
  c.textAlign = "left";
  c.fillText(`▾ ${cut(item.label, Math.max(4, Math.floor((item.w - 24) / LETTER)))}`, item.ax + 7, item.ay + 14);
}

function drawSegments(c) {
  const [left, top] = [-state.x / state.zoom, -state.y / state.zoom];
  const [right, bottom] = [left + canvas.clientWidth / state.zoom, top + canvas.clientHeight / state.zoom];
  const seen = scene.segments.filter(
    ({ box }) => box[2] >= left && box[0] <= right && box[3] >= top && box[1] <= bottom,
  );
  const chosen = new Set();
  for (const edge of scene.edges)
    if (edge.a.key === state.selected || edge.b.key === state.selected) edge.segments.forEach((p) => chosen.add(p));
  const width = Math.max(1, 0.5 / state.zoom);
  stroke(
    c,
    seen.filter((p) => !chosen.has(p) && !p.dashed),
    colours.line,
    width,
    [],
  );
  stroke(
    c,
    seen.filter((p) => !chosen.has(p) && p.dashed),
    colours.line,
    width,
    [4, 3],
  );
  stroke(
    c,
    seen.filter((p) => chosen.has(p)),
    colours.select,
    2 * width,
    [],
  );
}

function stroke(c, segments, colour, width, dash) {
  c.strokeStyle = c.fillStyle = colour;
  c.lineWidth = width;
  c.setLineDash(dash);
  c.beginPath();
  for (const segment of segments) trace(c, segment.points);
  c.stroke();
  c.setLineDash([]);
  if (state.zoom < 0.2) return;
  c.beginPath();
  for (const { points: p, arrow, flipped } of segments) {
    if (!arrow) continue;
    const [x, y, up] = flipped ? [p[0], p[1], -1] : [p.at(-2), p.at(-1), 1];
    c.moveTo(x, y);
    c.lineTo(x - 3.5, y - 7 * up);
    c.lineTo(x + 3.5, y - 7 * up);
  }
  c.fill();
}

function trace(c, p) {
  c.moveTo(p[0], p[1]);
  for (let i = 2; i < p.length; i += 2) {
    const middle = (p[i - 1] + p[i + 1]) / 2;
    if (p[i] === p[i - 2]) c.lineTo(p[i], p[i + 1]);
    else c.bezierCurveTo(p[i - 2], middle, p[i], middle, p[i], p[i + 1]);
  }
}

/** The mark of a box, or of any box in a closed group. */
function markOf(item) {
  if (!marks.size) return undefined;
  return item.box
    ? marks.get(item.box.id)
    : leaves(item)
        .map((l) => marks.get(l.box.id))
        .find(Boolean);
}

function drawBox(c, item) {
  const mark = markOf(item),
    selected = item.key === state.selected;
  c.fillStyle = fillOf(item);
  c.strokeStyle = selected ? colours.select : mark ? colours[mark] : colours.frame;
  c.lineWidth = (selected || mark ? 2.5 : 1) * Math.max(1, 0.4 / state.zoom);
  c.beginPath();
  if (state.zoom < 0.15) c.rect(item.ax, item.ay, item.w, item.h);
  else c.roundRect(item.ax, item.ay, item.w, item.h, item.box && item.box.kind !== "op" ? 12 : 4);
  c.fill();
  if (state.zoom >= 0.08 || selected || mark) c.stroke();
  if (state.zoom < 0.3) return;
  c.textAlign = "center";
  item.lines.forEach((line, i) => {
    c.fillStyle = line.dim ? colours.dim : colours.ink;
    c.font = `${line.bold ? "bold " : ""}11px ui-monospace, monospace`;
    c.fillText(line.text, item.ax + item.w / 2, item.ay + 4 + (i + 0.75) * LINE, item.w - 8);
  });
}

// the map in the corner: drawn once for a layout, with a frame for the window over it

const NARROWEST = 40; // pixels: a long chain is stretched sideways

let mapImage = null,
  mapX = 1,
  mapY = 1;
function drawMap() {
  const { w, h: tall } = scene.root;
  const scale = Math.min(140 / w, Math.max(180, 0.6 * canvas.clientHeight) / tall);
  [mapX, mapY] = [Math.max(scale, NARROWEST / w), Math.max(scale, NARROWEST / tall)];
  map.style.width = `${w * mapX}px`;
  map.style.height = `${tall * mapY}px`;
  mapImage = document.createElement("canvas");
  [mapImage.width, mapImage.height] = [2 * w * mapX, 2 * tall * mapY];
  const c = mapImage.getContext("2d");
  c.scale(2 * mapX, 2 * mapY);
  for (const item of scene.items) {
    if (item.open) continue;
    c.fillStyle = colours[markOf(item)] ?? `hsl(${item.box?.kind === "op" ? hue(item.box.family) : 220} 40% 55%)`;
    c.fillRect(item.ax, item.ay, Math.max(item.w, 0.8 / mapX), Math.max(item.h, 0.8 / mapY));
  }
}

function paintMap() {
  const c = prepareCanvas(map);
  c.drawImage(mapImage, 0, 0, mapImage.width / 2, mapImage.height / 2);
  c.strokeStyle = colours.select;
  c.lineWidth = 1.5;
  c.strokeRect(
    (-state.x / state.zoom) * mapX,
    (-state.y / state.zoom) * mapY,
    (canvas.clientWidth / state.zoom) * mapX,
    (canvas.clientHeight / state.zoom) * mapY,
  );
}

// ---- moving -------------------------------------------------------------------------------------------------------

function fit(whole = true) {
  const { w, h: tall } = scene.root;
  const [cw, ch] = [canvas.clientWidth || 800, canvas.clientHeight || 600];
  const all = Math.min(cw / (w + 20), ch / (tall + 20));
  state.zoom = whole ? Math.min(1.5, all) : Math.min(1.1, Math.max(all, 0.6, Math.min(0.85, cw / (w + 20))));
  const focus = scene.items.find((i) => i.box)?.ax ?? 0;
  state.x = w * state.zoom < cw ? (cw - w * state.zoom) / 2 : cw / 2 - (focus + 60) * state.zoom;
  state.y = tall * state.zoom < ch ? (ch - tall * state.zoom) / 2 : 10;
  draw();
}

function zoomBy(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const zoom = Math.min(4, Math.max(0.005, state.zoom * factor));
  state.x = x - ((x - state.x) * zoom) / state.zoom;
  state.y = y - ((y - state.y) * zoom) / state.zoom;
  state.zoom = zoom;
  draw();
}

function bringInto(item) {
  if (state.zoom < 0.5) state.zoom = 0.8;
  const [x, y] = [screenX(item.ax + item.w / 2), screenY(item.ay + Math.min(item.h, 60) / 2)];
  const margin = 80;
  if (x < margin || x > canvas.clientWidth - margin) state.x += canvas.clientWidth / 2 - x;
  if (y < margin || y > canvas.clientHeight - margin) state.y += canvas.clientHeight / 2 - y;
}

// ---- choosing -----------------------------------------------------------------------------------------------------

/** The item at a place on the canvas: a box, or an open layer by its heading. */
function itemAt(x, y) {
  const [gx, gy] = [(x - state.x) / state.zoom, (y - state.y) / state.zoom];
  const inside = (i) => gx >= i.ax && gx <= i.ax + i.w && gy >= i.ay && gy <= i.ay + (i.open ? HEADER : i.h);
  return scene.items.findLast((i) => i.parent && inside(i)) ?? null;
}

function select(key, move = false) {
  state.selected = key;
  const item = shownItem(key);
  if (item && move) bringInto(item);
  details();
  draw();
}

/** Select a box wherever it is: in the stage shown or in another one, its layers opened. */
function reveal(id) {
  show("graph");
  if (!recordOf(id)) {
    const stage = recordsOf.findLastIndex((records) => records.has(id));
    if (stage < 0) return;
    state.old = false;
    setStage(stage);
  }
  const leaf = scene.byId.get(id);
  let shut = false;
  for (let at = leaf?.parent; at?.parent; at = at.parent)
    if (!at.open) {
      state.toggled.set(at.key, true);
      shut = true;
    }
  if (shut) rebuild();
  select(`#${id}`, true);
}

function toggle(item) {
  if (!item?.children || !item.parent) return;
  state.toggled.set(item.key, !item.open);
  state.selected = item.key;
  rebuild();
  details();
}

function toggleAll(open) {
  const { root } = trees.get(stageShown());
  const each = (item) => {
    if (!item.children) return;
    if (item.parent) state.toggled.set(item.key, open);
    item.children.forEach(each);
  };
  each(root);
  rebuild();
}

/** Walk along the edges: to what the selected box feeds, reads, or stands beside. */
function walk(direction) {
  const item = itemOf(state.selected);
  if (!item) {
    const first = scene.items.find((i) => i.parent && !i.open);
    return first && select(first.key, true);
  }
  const near = {
    ArrowDown: () => scene.edges.filter((e) => e.a === item).map((e) => e.b),
    ArrowUp: () => scene.edges.filter((e) => e.b === item).map((e) => e.a),
    ArrowLeft: () => beside(item, -1),
    ArrowRight: () => beside(item, 1),
  }[direction]();
  if (near.length) select(near.reduce((best, i) => (i.order < best.order ? i : best)).key, true);
}

function beside(item, side) {
  const level = (i) => !i.open && i !== item && i.parent === item.parent && Math.abs(i.cy - item.cy) < 40;
  const found = scene.items.filter((i) => level(i) && Math.sign(i.ax - item.ax) === side);
  return found.sort((a, b) => Math.abs(a.ax - item.ax) - Math.abs(b.ax - item.ax)).slice(0, 1);
}

// ---- passes -------------------------------------------------------------------------------------------------------

function setStage(stage) {
  state.stage = Math.min(data.stages.length - 1, Math.max(0, stage));
  $("stage").value = state.stage;
  const { changes } = data.stages[state.stage];
  $("stage-name").value =
    `${state.stage}/${data.stages.length - 1}  ${titleOfStage(state.stage)}` +
    (changes ? `: ${changes} change${changes > 1 ? "s" : ""}` : "");
  $("old").checked = state.old;
  rebuild();
  if (state.selected?.startsWith("#") && !recordOf(Number(state.selected.slice(1)))) state.selected = null;
  details();
}
