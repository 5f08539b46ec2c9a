// Views, theme, keys, pointers, and the start.

function show(view) {
  state.view = view;
  for (const tab of document.querySelectorAll("[role=tab]"))
    tab.setAttribute("aria-selected", String(tab.dataset.view === view));
  for (const name of ["graph", "memory", "profile"]) $(`view-${name}`).hidden = name !== view;
  if (view === "memory") drawMemory();
  if (view === "profile") drawProfile();
  draw();
}

const darkSystem = matchMedia("(prefers-color-scheme: dark)");
let chosenTheme = null; // null: as the system is

function setTheme() {
  document.documentElement.dataset.theme = chosenTheme ?? (darkSystem.matches ? "dark" : "light");
  readColours();
  drawMap();
  draw();
}

function toggleTheme() {
  chosenTheme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  setTheme();
}

const KEYS = [
  ["/", "search"],
  ["← ↑ → ↓", "walk along the edges"],
  ["Enter", "open or close the layer"],
  ["c  e", "close, open all layers"],
  ["+ − 0", "zoom in, out, fit"],
  ["[  ]", "the pass before, the next"],
  ["b", "the graph before the pass"],
  ["g  m  p", "graph, memory, time"],
  ["t", "light or dark"],
  ["Esc", "choose nothing"],
  ["?", "this list"],
];

const PRESSED = {
  "/": () => $("search").focus(),
  c: () => toggleAll(false),
  e: () => toggleAll(true),
  "+": () => zoomBy(1.25),
  "=": () => zoomBy(1.25),
  "-": () => zoomBy(0.8),
  0: () => fit(),
  "[": () => setStage(state.stage - 1),
  "]": () => setStage(state.stage + 1),
  b: () => {
    state.old = !state.old;
    setStage(state.stage);
  },
  g: () => show("graph"),
  m: () => show("memory"),
  p: () => show("profile"),
  t: toggleTheme,
  "?": () => $("keys").showModal(),
  Escape: () => select(null),
};

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], [role=option]"))
    return;
  const arrow = event.key.startsWith("Arrow") && event.target === canvas;
  if (arrow) walk(event.key);
  else if (event.key === "Enter" && event.target === canvas) toggle(itemOf(state.selected));
  else if (PRESSED[event.key]) PRESSED[event.key]();
  else return;
  event.preventDefault();
}

function pointers() {
  let held = null;
  canvas.addEventListener("pointerdown", (e) => {
    held = { x: e.clientX, y: e.clientY, moved: false };
    canvas.setPointerCapture(e.pointerId);
  });
  canvas.addEventListener("pointermove", (e) => {
    if (!held) return;
    const [dx, dy] = [e.clientX - held.x, e.clientY - held.y];
    if (!held.moved && Math.abs(dx) + Math.abs(dy) < 4) return;
    Object.assign(held, { x: e.clientX, y: e.clientY, moved: true });
    state.x += dx;
    state.y += dy;
    draw();
  });
  canvas.addEventListener("pointerup", (e) => {
    if (held && !held.moved) select(itemAt(e.offsetX, e.offsetY)?.key ?? null);
    held = null;
  });
  canvas.addEventListener("dblclick", (e) => toggle(itemAt(e.offsetX, e.offsetY)));
  canvas.addEventListener(
    "wheel",
    (e) => {
      e.preventDefault();
      if (e.ctrlKey || !e.shiftKey) zoomBy(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0015)), e.offsetX, e.offsetY);
      else {
        state.x -= e.deltaX || e.deltaY;
        draw();
      }
    },
    { passive: false },
  );
  const moveTo = (e) => {
    if (!e.buttons) return;
    map.setPointerCapture(e.pointerId);
    state.x = canvas.clientWidth / 2 - (e.offsetX / mapX) * state.zoom;
    state.y = canvas.clientHeight / 2 - (e.offsetY / mapY) * state.zoom;
    draw();
  };
  map.addEventListener("pointerdown", moveTo);
  map.addEventListener("pointermove", moveTo);
}

function start() {
  $("title").textContent = data.name;
  $("stage").max = data.stages.length - 1;
  $("keys").append(
    h("h2", {}, "Keys"),
    table(KEYS.map(([key, text]) => row(key, text))),
    h("form", { method: "dialog" }, h("button", {}, "Close")),
  );
  $("legend").append(...["added", "changed", "removed"].map((name) => h("span", { class: name }, name)));
  const click = {
    collapse: () => toggleAll(false),
    expand: () => toggleAll(true),
    fit: () => fit(),
    theme: toggleTheme,
    help: () => $("keys").showModal(),
    before: () => setStage(state.stage - 1),
    after: () => setStage(state.stage + 1),
  };
  for (const [id, act] of Object.entries(click)) $(id).addEventListener("click", act);
  for (const tab of document.querySelectorAll("[role=tab]"))
    tab.addEventListener("click", () => show(tab.dataset.view));
  $("stage").addEventListener("input", (e) => setStage(Number(e.target.value)));
  $("old").addEventListener("change", (e) => {
    state.old = e.target.checked;
    setStage(state.stage);
  });
  $("search").addEventListener("input", (e) => search(e.target.value));
  document.querySelector(".search").addEventListener("keydown", searchKey);
  document.addEventListener("keydown", press);
  pointers();
  darkSystem.addEventListener("change", setTheme);
  new ResizeObserver(() => draw()).observe(canvas);
  setStage(state.stage);
  fit(false);
  setTheme();
  show(data.first ?? "graph");
  document.documentElement.dataset.ready = "yes";
}

/** For scripts that drive the page: what is shown, and where. */
window.tenun = {
  data,
  state,
  select,
  reveal,
  setStage,
  show,
  items: () =>
    scene.items.map((i) => ({
      key: i.key,
      label: labelOf(i),
      open: i.open,
      x: screenX(i.ax),
      y: screenY(i.ay),
      w: i.w * state.zoom,
      h: i.h * state.zoom,
    })),
  edges: () => scene.edges.map((e) => [e.a.key, e.b.key]),
  marks: () => Object.fromEntries(marks),
};
start();
