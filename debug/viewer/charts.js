// The memory plan and the profile, drawn.

// ---- memory -------------------------------------------------------------------------------------------------------

function drawMemory() {
  const panel = $("view-memory"),
    plan = data.memory;
  if (!plan) return panel.replaceChildren(h("p", { class: "missing" }, "There is no memory plan.", ...data.missing));
  const [W, H, left, top] = [Math.max(500, panel.clientWidth - 40), 420, 70, 10];
  const steps = plan.nodes.length + 2;
  const x = (step) => left + ((step + 1) / steps) * (W - left - 10);
  const tall = Math.max(plan.height, 1);
  const y = (address) => top + (1 - Math.min(1, address / tall)) * (H - top - 30);
  const alive = new Array(steps).fill(0);
  for (const b of plan.buffers) for (let i = b.first; i <= b.last; i++) alive[i + 1] += b.size;
  const svg = s("svg", {
    viewBox: `0 0 ${W} ${H}`,
    width: W,
    height: H,
    role: "group",
    "aria-label": "Buffers: nodes from left to right, addresses upwards",
  });
  for (let i = 0; i <= 4; i++) {
    const at = (tall * i) / 4;
    svg.append(
      s("line", { x1: left, x2: W - 10, y1: y(at), y2: y(at), class: "grid" }),
      s("text", { x: left - 6, y: y(at) + 4, "text-anchor": "end" }, quantity(at, "B")),
    );
  }
  for (const b of plan.buffers) svg.append(bufferShape(b, x, y, plan));
  const outline = (bytes) => bytes.map((n, i) => `${x(i - 1)},${y(n)} ${x(i)},${y(n)}`).join(" ");
  svg.append(
    s("polyline", { points: outline(alive.map((n, i) => n + (plan.scratch[i - 1] ?? 0))), class: "alive scratch" }),
    s("polyline", { points: outline(alive), class: "alive" }),
  );
  svg.append(
    s(
      "text",
      { x: (left + W) / 2, y: H - 6, "text-anchor": "middle" },
      `${plan.nodes.length} nodes, in the order of running; line: bytes in use, dotted: with scratch`,
    ),
  );
  const biggest = [...plan.buffers].sort((a, b) => b.size - a.size).slice(0, 25);
  panel.replaceChildren(
    h(
      "p",
      {},
      `Arena ${quantity(plan.total, "B")} (lower bound ${quantity(plan.bound, "B")}, without sharing ${quantity(plan.naive, "B")}), with scratch ${quantity(plan.height, "B")}.`,
    ),
    svg,
    h("h3", {}, "largest buffers"),
    h(
      "table",
      { class: "wide" },
      h("tr", {}, ...["bytes", "offset", "nodes", "value", "layer"].map((t) => h("th", {}, t))),
      ...biggest.map((b) =>
        h(
          "tr",
          {},
          ...[quantity(b.size, "B"), b.offset.toLocaleString("en"), `${b.first < 0 ? "start" : b.first} – ${b.last}`].map((t) =>
            h("td", { class: "figure" }, t),
          ),
          h("td", {}, b.box === null ? b.value : go(b.value, b.box)),
          h("td", {}, b.layer),
        ),
      ),
    ),
  );
}

function bufferShape(b, x, y, plan) {
  const family = familyOf.get(b.op);
  const node = (i) => (i < 0 ? "the inputs" : (plan.names[i] ?? "the outputs"));
  const text = `${b.value}\n${quantity(b.size, "B")} at ${b.offset}\nfrom ${node(b.first)} to ${node(b.last)}${b.shared.length ? `\nthen, in place or as views: ${b.shared.slice(0, 8).join(", ")}` : ""}`;
  return shape(
    {
      x: x(b.first),
      y: y(b.offset + b.size),
      width: Math.max(1, x(b.last + 1) - x(b.first)),
      height: Math.max(1, y(b.offset) - y(b.offset + b.size)),
    },
    family ? hue(family) : 210,
    text,
    () => bufferDetails(b, text),
  );
}

function bufferDetails(b, text) {
  state.selected = null;
  $("details").replaceChildren(
    h("h2", {}, "buffer"),
    h("pre", {}, text),
    b.box === null ? h("p", {}, "an input") : h("p", {}, go("show its node", b.box)),
  );
}

/** A rectangle to be clicked, with a text for pointer and screen reader. */
function shape(place, tone, text, act, label = "") {
  const run = (event) => {
    if (event.type === "click" || event.key === "Enter") act(event);
  };
  const rectangle = s("rect", { ...place, rx: 1.5, fill: `hsl(${tone} 50% 55%)`, class: "shape" });
  const group = s(
    "g",
    { tabindex: place.width > 3 ? 0 : -1, role: "button", "aria-label": text, click: run, keydown: run },
    rectangle,
    s("title", {}, text),
  );
  if (label && place.width > 30)
    group.append(
      s(
        "text",
        { x: place.x + 3, y: place.y + place.height / 2 + 4, class: "on" },
        cut(label, Math.floor((place.width - 6) / LETTER)),
      ),
    );
  return group;
}

// ---- time ---------------------------------------------------------------------------------------------------------

function drawProfile() {
  const panel = $("view-profile"),
    found = data.profile;
  if (!found) return panel.replaceChildren(h("p", { class: "missing" }, "The run was not timed.", ...data.missing));
  const W = Math.max(500, panel.clientWidth - 40);
  const rows = [...found.nodes].sort((a, b) => b.seconds - a.seconds).slice(0, 30);
  panel.replaceChildren(
    h(
      "p",
      {},
      `A run takes ${duration(found.run_seconds)} (median of ${found.rounds}; backend ${found.backend}, ${found.threads} thread${found.threads > 1 ? "s" : ""}), the steps ${duration(found.seconds)}${found.shards > 1 ? ` of the first of ${found.shards} shards` : ""}.`,
    ),
    h(
      "h3",
      {},
      "flame: layers, nodes and steps in the order of running ",
      h(
        "button",
        {
          click: () => {
            state.flame = null;
            drawProfile();
          },
        },
        "whole run",
      ),
    ),
    flame(found, W),
    h("h3", {}, "roofline: what this machine could do at most, and what each node does"),
    roofline(found, Math.min(W, 900)),
    h("h3", {}, "slowest nodes"),
    h(
      "table",
      { class: "wide" },
      h(
        "tr",
        {},
        ...["node", "op", "layer", "kernel", "time", "share", "FLOP/s", "bytes/s", "roofline"].map((t) =>
          h("th", {}, t),
        ),
      ),
      ...rows.map((r) =>
        h(
          "tr",
          {},
          h("td", {}, r.box === null ? r.name : go(r.name, r.box)),
          ...[
            r.op,
            r.layer,
            r.kernel,
            duration(r.seconds),
            percent(r.share),
            quantity(r.flop_rate),
            quantity(r.byte_rate),
            percent(r.roofline),
          ].map((t, i) => h("td", { class: (i === 0 || i > 2) && "figure" }, t)),
        ),
      ),
    ),
  );
}

/** Bars over the time: [start, seconds, depth, label, row]. */
function bars(found) {
  const all = [],
    open = [];
  const stepsOf = found.nodes.map(() => []);
  found.steps.forEach((step, i) => stepsOf[found.node_of[i]]?.push(step));
  let now = 0;
  found.nodes.forEach((r, n) => {
    const path = [...r.layer.split("/").filter(Boolean), `${r.op} ${r.name}`];
    let same = 0;
    while (same < open.length && same < path.length - 1 && open[same].label === path[same]) same += 1;
    open.length = same;
    for (let d = same; d < path.length; d++) {
      open.push({ start: now, seconds: 0, depth: d, label: path[d], row: d === path.length - 1 ? r : null });
      all.push(open.at(-1));
    }
    for (const bar of open) bar.seconds += r.seconds;
    let at = now;
    for (const step of stepsOf[n]) {
      all.push({ start: at, seconds: step.seconds, depth: path.length, label: step.kernel, row: r });
      at += step.seconds;
    }
    now += r.seconds;
  });
  return [all, now];
}

let flameBars = null;
function flame(found, W) {
  const [all, total] = (flameBars ??= bars(found));
  const [from, to] = state.flame ?? [0, total];
  const deepest = Math.max(0, ...all.map((b) => b.depth)),
    tall = 20;
  const scale = (W - 4) / Math.max(to - from, 1e-12);
  const svg = s("svg", {
    viewBox: `0 0 ${W} ${(deepest + 1) * tall + 4}`,
    width: W,
    height: (deepest + 1) * tall + 4,
    role: "group",
    "aria-label": "Time by layer, node and step",
    class: "flame",
  });
  for (const b of all) {
    const [x0, x1] = [Math.max(0, (b.start - from) * scale), Math.min(W - 4, (b.start + b.seconds - from) * scale)];
    if (x1 - x0 < 0.4) continue;
    const text = `${b.label}\n${duration(b.seconds)}, ${percent(b.seconds / total)}${b.row ? `\n${b.row.shapes}\n${b.row.kernel}` : ""}`;
    const tone = b.row ? hue(familyOf.get(b.row.op) ?? b.row.op) : 220;
    const bar = shape(
      { x: x0 + 2, y: b.depth * tall + 2, width: x1 - x0, height: tall - 2 },
      tone,
      text,
      () => rowDetails(b, text),
      b.label,
    );
    bar.addEventListener("dblclick", () => {
      state.flame = [b.start, b.start + b.seconds];
      drawProfile();
    });
    svg.append(bar);
  }
  return svg;
}

function rowDetails(b, text) {
  state.selected = null;
  const zoom = h(
    "button",
    {
      click: () => {
        state.flame = [b.start, b.start + b.seconds];
        drawProfile();
      },
    },
    "zoom in",
  );
  $("details").replaceChildren(
    h("h2", {}, "time"),
    h("pre", {}, text),
    h("p", {}, zoom),
    b.row && b.row.box !== null ? h("p", {}, go("show its node", b.row.box)) : "",
  );
}

function roofline(found, W) {
  const points = found.nodes.filter((r) => r.intensity && r.flop_rate);
  const { peaks, bandwidths } = found.machine,
    several = found.threads > 1 ? 1 : 0;
  const peak = peaks.float32[several];
  const [H, left, bottom] = [340, 70, 40];
  const rates = [...points.map((r) => r.flop_rate), peak * 1.5],
    intensities = [...points.map((r) => r.intensity), 0.1, (4 * peak) / bandwidths.memory[0]];
  const log = Math.log10;
  const [x0, x1] = [Math.floor(log(Math.min(...intensities))), Math.ceil(log(Math.max(...intensities)))];
  const [y0, y1] = [Math.floor(log(Math.min(...rates))), Math.ceil(log(Math.max(...rates)))];
  const x = (v) => left + ((log(v) - x0) / (x1 - x0)) * (W - left - 20),
    y = (v) => 10 + (1 - (log(v) - y0) / (y1 - y0)) * (H - bottom - 10);
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, width: W, height: H, role: "group", "aria-label": "Roofline" });
  for (let e = x0; e <= x1; e++)
    svg.append(
      s("line", { x1: x(10 ** e), x2: x(10 ** e), y1: 10, y2: H - bottom, class: "grid" }),
      s("text", { x: x(10 ** e), y: H - bottom + 16, "text-anchor": "middle" }, quantity(10 ** e)),
    );
  for (let e = y0; e <= y1; e++)
    svg.append(
      s("line", { x1: left, x2: W - 20, y1: y(10 ** e), y2: y(10 ** e), class: "grid" }),
      s("text", { x: left - 6, y: y(10 ** e) + 4, "text-anchor": "end" }, quantity(10 ** e)),
    );
  svg.append(
    s("text", { x: W / 2, y: H - 6, "text-anchor": "middle" }, "operations for each byte"),
    s("text", { x: left + 4, y: 22, class: "dim" }, "FLOP/s"),
  );
  const names = []; // over the points
  for (const [i, [level, figures]] of Object.entries(bandwidths).entries()) {
    const bandwidth = figures[several],
      knee = peak / bandwidth,
      start = Math.max(10 ** x0, 10 ** y0 / bandwidth);
    const named = start * (knee / start) ** (0.15 + 0.2 * i); // names stand apart where lines are close
    svg.append(
      s(
        "polyline",
        {
          points: `${x(start)},${y(start * bandwidth)} ${x(knee)},${y(peak)} ${x(10 ** x1)},${y(peak)}`,
          class: "roof",
        },
        s("title", {}, `${level}: ${quantity(bandwidth, "B/s")}; products: ${quantity(peak, "FLOP/s")}`),
      ),
    );
    names.push(s("text", { x: x(named) + 6, y: y(named * bandwidth) + 14, class: "dim" }, level));
  }
  for (const r of points) {
    const text = `${r.op} ${r.name}${r.layer ? `\n${r.layer}` : ""}\n${duration(r.seconds)}, ${percent(r.share)}\n${quantity(r.flop_rate, "FLOP/s")}, ${percent(r.roofline)} of the roofline`;
    const act = (event) => {
      if (event.type === "click" || event.key === "Enter") rowDetails(flameBars[0].find((b) => b.row === r), text);
    };
    svg.append(
      s(
        "circle",
        {
          cx: x(r.intensity),
          cy: y(r.flop_rate),
          r: 3 + 12 * Math.sqrt(r.share),
          fill: `hsl(${hue(familyOf.get(r.op) ?? r.op)} 60% 50% / .65)`,
          class: "shape",
          tabindex: 0,
          role: "button",
          "aria-label": text,
          click: act,
          keydown: act,
        },
        s("title", {}, text),
      ),
    );
  }
  svg.append(...names);
  return svg;
}
