// Each open layer is laid out by itself (Sugiyama, Tagawa & Toda 1981: ranks by longest path, order by the mean place of
// the neighbours, coordinates), then stands as one box in the layer around it.  Edges that leave or enter it pass through
// ports on its lower and upper side.  Coordinates are least squares under the order: isotonic regression.

const LETTER = 6.7,
  LINE = 14,
  WIDEST = 230,
  GAP = { x: 22, y: 30 },
  PAD = 12,
  HEADER = 20;
const SWEEPS = 8,
  MOST_BENDS = 40000;

/** Lay out a tree under the set of open groups; returns the tree with places, and the segments of its edges. */
function layout(root, isOpen) {
  const scene = { root, items: [], segments: [], edges: [], byId: new Map() };
  for (const leaf of leaves(root)) scene.byId.set(leaf.box.id, leaf);
  const open = (group) => group === root || isOpen(group.key);
  prepare(root, open);
  connect(scene);
  place(root, scene);
  absolute(root, 0, 0, scene);
  for (const segment of scene.segments) bounds(segment);
  return scene;
}

/** Whether each group is open, and for each item the box that stands for it. */
function prepare(item, open) {
  item.open = item.children ? open(item) : false;
  item.links = [];
  item.linked = new Map(); // of the links, by their ends
  item.entries = new Map();
  item.exits = new Map();
  if (!item.children) return;
  for (const child of item.children) {
    child.stand = item.stand ?? (item.open ? null : item);
    prepare(child, open);
  }
}

/** Edges between the boxes that are shown, entered into the groups that they run through. */
function connect(scene) {
  const producer = new Map(),
    seen = new Map();
  const all = leaves(scene.root);
  for (const leaf of all) for (const v of leaf.box.out) producer.set(v, leaf);
  const edge = (from, to, inner) => {
    const [a, b] = [from.stand ?? from, to.stand ?? to];
    if (a === b) return;
    const key = `${a.key}>${b.key}`;
    if (!seen.has(key)) seen.set(key, { a, b, inner, segments: [] });
    seen.get(key).inner &&= inner;
  };
  for (const leaf of all) {
    for (const v of leaf.box.in) if (producer.has(v)) edge(producer.get(v), leaf, false);
    for (const id of leaf.box.inner ?? []) if (scene.byId.has(id)) edge(leaf, scene.byId.get(id), true);
  }
  for (const found of seen.values()) thread(found, scene);
}

const ancestors = (item) => {
  const all = [];
  for (let at = item; at; at = at.parent) all.push(at);
  return all;
};

/** Let an edge out of the groups around its start, over, and into those around its end. */
function thread(edge, scene) {
  const [up, down] = [ancestors(edge.a), ancestors(edge.b)];
  const around = new Set(down);
  const shared = up.find((item) => around.has(item) && item !== edge.a && item !== edge.b) ?? scene.root;
  const name = edge.a.key;
  let from = edge.a;
  for (; from.parent !== shared; from = from.parent)
    link(edge, from.parent, from, port(from.parent, "exits", name), name);
  const inside = down.slice(0, down.indexOf(shared)).reverse(); // from the child of the shared group to the end
  link(edge, shared, from, inside[0], name);
  for (let i = 1; i < inside.length; i++)
    link(edge, inside[i - 1], port(inside[i - 1], "entries", name), inside[i], name);
  scene.edges.push(edge);
}

function port(group, side, name) {
  if (!group[side].has(name)) group[side].set(name, { port: true, w: 2, h: 0, links: [] });
  return group[side].get(name);
}

function link(edge, group, from, to, name) {
  const key = `${idOf(from)}>${idOf(to)}`;
  let found = group.linked.get(key);
  if (!found) {
    found = { from, to, name, edges: [] };
    group.linked.set(key, found);
    group.links.push(found);
  }
  found.edges.push(edge);
}

let ports = 0;
const idOf = (item) => item.key ?? (item.key = `port${ports++}`);

/** Give an item its size, and the items inside of an open group their places in it. */
function place(item, scene) {
  if (!item.open) {
    item.lines = linesOf(item);
    const longest = Math.max(...item.lines.map((line) => line.text.length));
    item.w = Math.min(WIDEST, longest * LETTER + 16);
    item.h = item.lines.length * LINE + 8;
    return;
  }
  for (const child of item.children) place(child, scene);
  const nodes = [...item.entries.values(), ...item.children, ...item.exits.values()];
  nodes.forEach((node, i) => Object.assign(node, { i, rank: 0, x: 0, above: [], below: [] }));
  const chains = rank(item, nodes);
  const ranks = [];
  for (const node of [...nodes, ...chains]) (ranks[node.rank] ??= []).push(node);
  for (let r = 0; r < ranks.length; r++) ranks[r] ??= [];
  arrange(ranks);
  size(item, ranks, scene);
}

/** The lines of a closed box. */
function linesOf(item) {
  if (!item.box) {
    const inside = new Map();
    for (const { box } of leaves(item)) if (box.kind === "op") inside.set(box.op, (inside.get(box.op) || 0) + 1);
    const ops = [...inside].map(([op, n]) => (n > 1 ? `${op} ×${n}` : op)).join(", ");
    return [
      { text: cut(`▸ ${item.label}`, 33), bold: true },
      { text: cut(ops, 33), dim: true },
    ];
  }
  const { box } = item,
    lines = [];
  const caption = captionOf(box);
  if (caption && caption !== box.op && caption !== item.parent.label) lines.push({ text: cut(caption, 33), dim: true });
  lines.push({ text: cut(box.op + activation(box), 33), bold: true });
  lines.push({ text: cut(box.types.join(", "), 33), dim: true });
  return lines;
}

function activation(box) {
  const found = box.attributes?.activation;
  return found && !found[1] ? ` + ${found[0]}` : "";
}

/** Ranks by the longest path, and a chain of bends for what skips ranks; one chain for all edges of one origin. */
function rank(group, nodes) {
  const links = group.links.map((l) => ({ ...l, source: l, back: l.from.i > l.to.i }));
  const outgoing = nodes.map(() => []),
    incoming = nodes.map(() => []);
  for (const l of links) {
    const [u, v] = l.back ? [l.to, l.from] : [l.from, l.to];
    outgoing[u.i].push(v);
    incoming[v.i].push(u);
  }
  const least = group.entries.size ? 1 : 0;
  for (const node of nodes) {
    if (!node.port) node.rank = Math.max(node.rank, least);
    for (const next of outgoing[node.i]) next.rank = Math.max(next.rank, node.rank + 1);
  }
  for (let i = nodes.length - 1; i >= 0; i--) {
    // what reads nothing goes near to what reads it
    const node = nodes[i];
    if (!node.port && !incoming[i].length && outgoing[i].length)
      node.rank = Math.min(...outgoing[i].map((n) => n.rank)) - 1;
  }
  const last = group.children.reduce((most, child) => Math.max(most, child.rank), 0) + 1;
  for (const node of group.exits.values()) node.rank = last;
  return bends(links);
}

function bends(links) {
  const chains = new Map(),
    made = [];
  const reach = new Map();
  for (const l of links) {
    const top = l.from.rank <= l.to.rank ? l.from : l.to;
    l.top = top;
    l.bottom = top === l.from ? l.to : l.from;
    reach.set(l, l.bottom.rank - top.rank);
  }
  const total = sum([...reach.values()].map((n) => Math.max(0, n - 1)));
  for (const l of links.sort((a, b) => reach.get(a) - reach.get(b))) {
    const direct = reach.get(l) <= 1 || (total > MOST_BENDS && reach.get(l) > 60);
    if (!chains.has(l.top)) chains.set(l.top, [l.top]);
    const chain = chains.get(l.top);
    while (!direct && chain.length < reach.get(l)) {
      const bend = { bend: true, w: 2, h: 0, x: 0, rank: l.top.rank + chain.length, above: [], below: [] };
      join(chain.at(-1), bend);
      chain.push(bend);
      made.push(bend);
    }
    const path = direct ? [l.top] : chain.slice(0, reach.get(l));
    if (reach.get(l) > 0) join(path.at(-1), l.bottom);
    l.source.path = [...path, l.bottom];
    l.source.flipped = l.top !== l.from;
  }
  return made;
}

function join(upper, lower) {
  upper.below.push(lower);
  lower.above.push(upper);
}

/** Order within the ranks, and places from left to right. */
function arrange(ranks) {
  for (const row of ranks)
    spread(
      row,
      row.map(() => 0),
      row.map(() => 1),
    );
  const rows = [ranks, [...ranks].reverse()];
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (const row of rows[sweep % 2]) {
      for (const node of row) node.want = mean(node, down ? node.above : node.below);
      row.sort((a, b) => a.want - b.want);
      spread(
        row,
        row.map((n) => n.want),
        row.map(weight),
      );
    }
  }
  for (let sweep = 0; sweep < 4; sweep++)
    for (const row of rows[sweep % 2])
      spread(
        row,
        row.map((n) => mean(n, [...n.above, ...n.below])),
        row.map(weight),
      );
}

const weight = (node) => (node.bend ? 1 : 10); // boxes stay where they want to be, bends give way

/** The mean place of neighbours; those of its own kind, boxes or bends, count more: that makes straight lines. */
function mean(node, near) {
  let [total, all] = [0, 0];
  for (const other of near) {
    const pull = Boolean(other.bend) === Boolean(node.bend) ? 1000 : 1;
    total += pull * other.x;
    all += pull;
  }
  return all ? total / all : node.x;
}

/** Put nodes in their order as near as possible to where they are wanted, without overlap (pool adjacent violators). */
function spread(row, wanted, weights) {
  const blocks = [];
  let offset = 0;
  const offsets = row.map((node, i) => {
    if (i) offset += (row[i - 1].w + node.w) / 2 + (node.bend && row[i - 1].bend ? 8 : GAP.x);
    return offset;
  });
  row.forEach((_, i) => {
    let block = { total: (wanted[i] - offsets[i]) * weights[i], weight: weights[i], count: 1 };
    while (blocks.length && blocks.at(-1).total / blocks.at(-1).weight > block.total / block.weight) {
      const before = blocks.pop();
      block = {
        total: before.total + block.total,
        weight: before.weight + block.weight,
        count: before.count + block.count,
      };
    }
    blocks.push(block);
  });
  let i = 0;
  for (const block of blocks)
    for (let n = 0; n < block.count; n++, i++) row[i].x = block.total / block.weight + offsets[i];
}

/** Heights of the ranks, the size of the group, and the segments inside of it. */
function size(group, ranks, scene) {
  const all = ranks.flat();
  const left = all.reduce((least, n) => Math.min(least, n.x - n.w / 2), Infinity) - PAD;
  const right = all.reduce((most, n) => Math.max(most, n.x + n.w / 2), -Infinity) + PAD;
  let y = group.parent ? HEADER : PAD;
  ranks.forEach((row, r) => {
    const height = Math.max(0, ...row.map((n) => n.h));
    const flat = row.every((n) => n.port);
    for (const node of row) {
      node.cx = node.x - left;
      node.cy = y + height / 2;
      node.top = y;
      node.bottom = y + height;
    }
    y += height + (flat && r === 0 ? 12 : GAP.y);
  });
  y -= GAP.y;
  group.w = Math.max(right - left, group.parent ? group.label.length * LETTER + 20 : 0);
  group.h = y + (group.exits.size ? 0 : PAD);
  for (const port of group.exits.values()) port.cy = port.top = port.bottom = group.h;
  for (const port of group.entries.values()) port.cy = port.top = port.bottom = 0;
  for (const l of group.links) {
    const segment = {
      group,
      points: points(l),
      arrow: !l.to.port,
      dashed: l.edges.every((e) => e.inner),
      flipped: l.flipped,
    };
    for (const edge of l.edges) edge.segments.push(segment);
    scene.segments.push(segment);
  }
}

/** The way of a link in its group: x, y pairs; straight through ranks, curved between. */
function points(l) {
  const found = [];
  l.path.forEach((node, i) => {
    const first = i === 0,
      lastOne = i === l.path.length - 1;
    const half = node.bend ? 0 : node.h / 2;
    if (first) found.push(portX(node, l, "exits"), node.port || node.bend ? node.cy : node.cy + half);
    else if (lastOne) found.push(portX(node, l, "entries"), node.port || node.bend ? node.cy : node.cy - half);
    else found.push(node.cx, node.top, node.cx, node.bottom);
  });
  return found;
}

/** Where on its side a link meets an open group: at its port. */
function portX(node, l, side) {
  const port = node.open ? node[side].get(l.name) : null;
  return port ? node.cx - node.w / 2 + port.cx : node.cx;
}

/** Places of everything from the corner of the whole. */
function absolute(item, x, y, scene) {
  item.ax = x;
  item.ay = y;
  scene.items.push(item);
  if (!item.open) return;
  for (const child of item.children) absolute(child, x + child.cx - child.w / 2, y + child.cy - child.h / 2, scene);
}

function bounds(segment) {
  const { points: p, group } = segment;
  segment.box = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < p.length; i += 2) {
    p[i] += group.ax;
    p[i + 1] += group.ay;
    segment.box[0] = Math.min(segment.box[0], p[i]);
    segment.box[1] = Math.min(segment.box[1], p[i + 1]);
    segment.box[2] = Math.max(segment.box[2], p[i]);
    segment.box[3] = Math.max(segment.box[3], p[i + 1]);
  }
}
