// The panel at the side, and the search.

// ---- details ------------------------------------------------------------------------------------------------------

const row = (name, ...value) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, ...value));
const table = (rows) => h("table", {}, ...rows);
const go = (text, id) => h("button", { class: "link", click: () => reveal(id) }, text);

function details() {
  const panel = $("details");
  const key = state.selected;
  const item = key && (itemOf(key) ?? shownItem(key));
  const box = key?.startsWith("#") ? recordOf(Number(key.slice(1))) : null;
  panel.replaceChildren(...(box ? boxDetails(box) : item?.children ? groupDetails(item) : overview()));
  panel.scrollTop = 0;
}

const titleOf = (record) =>
  record.kind === "op"
    ? `${record.op}  ${record.out.length ? valueName(record.out[0]) : ""}`
    : `${record.kind} ${record.op}`;

function overview() {
  const stage = data.stages[state.stage],
    { added, changed: other, removed } = changesOf(state.stage);
  const list = (name, ids, records) =>
    ids.length
      ? [
          h("h3", { class: name }, `${name}: ${ids.length}`),
          h(
            "ul",
            {},
            ...ids.slice(0, 300).map((id) => {
              const record = records.get(id);
              return h("li", {}, go(titleOf(record), id), record.source ? ` ${record.source}` : "");
            }),
          ),
        ]
      : [];
  return [
    h("h2", {}, titleOfStage(state.stage)),
    stage.doc ? h("p", {}, stage.doc) : null,
    table(
      [
        row("boxes", String(stage.boxes.length)),
        stage.changes ? row("changes", String(stage.changes)) : null,
        stage.seconds ? row("took", duration(stage.seconds)) : null,
        data.shapes
          ? row(
              "run on",
              Object.entries(data.shapes)
                .map(([k, v]) => `${k}: ${v}`)
                .join(", "),
            )
          : null,
        data.profile ? row("a run", duration(data.profile.run_seconds)) : null,
        data.memory ? row("arena", quantity(data.memory.total, "B")) : null,
        row("backend", data.backend),
      ].filter(Boolean),
    ),
    ...data.missing.map((text) => h("p", { class: "missing" }, `Not here: ${text}`)),
    ...list("added", added, recordsOf[state.stage]),
    ...list("changed", other, recordsOf[state.stage]),
    ...list("removed", removed, recordsOf[Math.max(0, state.stage - 1)]),
  ].filter(Boolean);
}

function boxDetails(box) {
  const mark = marks.get(box.id),
    op = data.ops[box.op];
  const parts = [h("h2", {}, box.kind === "op" ? box.op + activation(box) : `${box.kind} ${box.op}`)];
  if (box.kind === "op" && op) parts.push(h("p", {}, op.doc));
  if (mark) parts.push(h("p", { class: mark }, `${mark} by ${data.stages[state.stage].pass}`));
  if (mark === "changed") parts.push(changeTable(box));
  const rows = [];
  if (box.source)
    rows.push(row("layer", ...box.source.split(" + ").flatMap((part, i) => (i ? [" + ", part] : [part]))));
  if (box.note) rows.push(row("note", box.note));
  box.out.forEach((v, i) => rows.push(row(i ? "" : "result", `${valueName(v)}: `, h("code", {}, box.types[i]))));
  if (rows.length) parts.push(table(rows));
  parts.push(...costs(box), ...operands(box, op), ...attributesOf(box), ...readers(box));
  return parts;
}

function changeTable(box) {
  const [before, after] = [recordsOf[state.stage - 1].get(box.id), recordsOf[state.stage].get(box.id)];
  const lines = differences(before, after).map(([what, a, b]) =>
    row(what, h("del", {}, a || "(nothing)"), " → ", h("ins", {}, b || "(nothing)")),
  );
  return table(lines.length ? lines : [row("", "names alone")]);
}

function operands(box, op) {
  if (!box.in.some((v) => v !== null)) return [];
  const fixed = box.in.length - (box.dynamic?.length ?? 0);
  const all = [...recordsOf[stageShown()].values()];
  const producers = new Map(all.flatMap((r) => r.out.map((v, i) => [v, { id: r.id, type: r.types[i] }])));
  const nodes = [h("h3", {}, box.kind === "op" ? "operands" : "value")],
    rows = [];
  box.in.forEach((v, i) => {
    if (v === null) return;
    const name = i >= fixed ? box.dynamic[i - fixed] : (op?.operands[Math.min(i, op.operands.length - 1)] ?? "");
    const value = producers.has(v) ? go(valueName(v), producers.get(v).id) : h("b", {}, valueName(v));
    rows.push(row(name, value, ": ", h("code", {}, producers.get(v)?.type ?? valueType(v))));
    if (data.weights[v]) rows.push(h("tr", {}, h("td", { colspan: 2 }, weightDetails(data.weights[v]))));
  });
  return [...nodes, table(rows)];
}

function weightDetails(w) {
  const number = (x) => (x === null || x === undefined ? "-" : Number(x.toPrecision(5)).toString());
  const figures =
    w.size === undefined
      ? "no numbers"
      : [
          `${w.size.toLocaleString("en")} elements`,
          `min ${number(w.min)}`,
          `mean ${number(w.mean)}`,
          `max ${number(w.max)}`,
          `std ${number(w.std)}`,
          w.zeros ? `${w.zeros.toLocaleString("en")} zeros` : "",
          w.nans ? `${w.nans} NaN` : "",
          w.infinities ? `${w.infinities} infinite` : "",
        ]
          .filter(Boolean)
          .join(" · ");
  const parts = [h("small", {}, figures), h("br"), h("small", { class: "dim" }, `sha256 ${w.sha256}`)];
  if (w.histogram?.length && w.min !== w.max) parts.push(histogram(w));
  return h("div", { class: "weight" }, ...parts);
}

function histogram({ histogram: counts, min, max }) {
  const most = Math.max(...counts),
    width = 240 / counts.length;
  return s(
    "svg",
    { viewBox: "0 0 240 60", role: "img", "aria-label": "histogram of the elements", class: "histogram" },
    ...counts.map((n, i) =>
      s(
        "rect",
        { x: i * width, y: 48 - (46 * n) / most, width: width - 1, height: Math.max(n ? 0.6 : 0, (46 * n) / most) },
        s(
          "title",
          {},
          `${n} in ${(min + (i * (max - min)) / counts.length).toPrecision(3)} … ${(min + ((i + 1) * (max - min)) / counts.length).toPrecision(3)}`,
        ),
      ),
    ),
    s("text", { x: 0, y: 58 }, min.toPrecision(3)),
    s("text", { x: 240, y: 58, "text-anchor": "end" }, max.toPrecision(3)),
  );
}

function costs(box) {
  const found = profiled.get(box.id),
    rows = [];
  if (found) {
    rows.push(row("time", `${duration(found.seconds)}, ${percent(found.share)} of the run`));
    rows.push(row("kernel", found.kernel));
    if (found.flops !== null)
      rows.push(row("operations", `${quantity(found.flops, "FLOP")}, ${quantity(found.flop_rate, "FLOP/s")}`));
    if (found.bytes !== null)
      rows.push(row("bytes", `${quantity(found.bytes, "B")}, ${quantity(found.byte_rate, "B/s")}`));
    if (found.roofline !== null) rows.push(row("roofline", percent(found.roofline)));
    if (found.allocated) rows.push(row("allocates", quantity(found.allocated, "B")));
  } else if (box.source) {
    const places = new Set(box.source.split(" + "));
    const same = [...profiled.values()].filter((r) => r.layer.split(" + ").some((p) => places.has(p)));
    if (same.length)
      rows.push(
        row("layer's time", `${duration(sum(same.map((r) => r.seconds)))} in ${same.length} of the planned nodes`),
      );
  }
  for (const b of buffered.get(box.id) ?? [])
    rows.push(
      row("memory", `${quantity(b.size, "B")} at ${b.offset.toLocaleString("en")}, nodes ${b.first} to ${b.last}`),
    );
  return rows.length ? [h("h3", {}, "cost"), table(rows)] : [];
}

function attributesOf(box) {
  const all = Object.entries(box.attributes ?? {});
  if (!all.length) return [];
  return [
    h("h3", {}, "attributes"),
    table(all.map(([key, [value, usual]]) => fill(row(key, shown(value)), { class: usual ? "dim" : "" }, []))),
  ];
}

function readers(box) {
  const found = [...recordsOf[stageShown()].values()].filter((r) => r.in.some((v) => box.out.includes(v)));
  return found.length
    ? [h("h3", {}, "read by"), h("ul", {}, ...found.slice(0, 100).map((r) => h("li", {}, go(titleOf(r), r.id))))]
    : [];
}

function groupDetails(item) {
  const inside = leaves(item).map((l) => l.box),
    ops = new Map();
  for (const box of inside) if (box.kind === "op") ops.set(box.op, (ops.get(box.op) || 0) + 1);
  const weights = new Set(inside.flatMap((b) => b.in).filter((v) => v !== null && data.weights[v]));
  const rows = inside.map((b) => profiled.get(b.id)).filter(Boolean);
  return [
    h("h2", {}, item.label),
    h("p", {}, h("button", { click: () => toggle(item) }, item.open ? "Close (Enter)" : "Open (Enter)")),
    table([
      row("nodes", String(inside.length)),
      row("ops", [...ops].map(([op, n]) => (n > 1 ? `${op} ×${n}` : op)).join(", ")),
      row("weights", sum([...weights].map((v) => data.weights[v].size ?? 0)).toLocaleString("en")),
      ...(rows.length
        ? [row("time", `${duration(sum(rows.map((r) => r.seconds)))}, ${percent(sum(rows.map((r) => r.share)))}`)]
        : []),
    ]),
    h("ul", {}, ...inside.slice(0, 200).map((b) => h("li", {}, go(titleOf(b), b.id)))),
  ];
}

// ---- search -------------------------------------------------------------------------------------------------------

const MOST_FOUND = 50;

function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const list = $("hits");
  if (!words.length) return list.replaceChildren();
  const found = [];
  for (const box of recordsOf[stageShown()].values()) {
    const all = [
      box.op,
      box.source ?? "",
      box.group.join("/"),
      ...box.types,
      ...[...box.in, ...box.out].map((v) => (v === null ? "" : valueName(v))),
    ];
    const line = all.join(" ").toLowerCase();
    if (words.every((w) => line.includes(w))) found.push(box);
  }
  const exact = (b) => b.source === text || b.op === text || b.out.some((v) => valueName(v).slice(1) === text);
  found.sort((a, b) => exact(b) - exact(a));
  list.replaceChildren(
    h("li", { class: "dim" }, `${found.length} found${found.length > MOST_FOUND ? `, the first ${MOST_FOUND}` : ""}`),
    ...found.slice(0, MOST_FOUND).map((box) =>
      h(
        "li",
        {
          role: "option",
          tabindex: -1,
          "data-id": box.id,
          click: () => {
            reveal(box.id);
            list.replaceChildren();
          },
        },
        h("b", {}, titleOf(box)),
        ` ${box.source ?? ""}`,
      ),
    ),
  );
}

function searchKey(event) {
  const list = $("hits"),
    all = [...list.querySelectorAll("[role=option]")];
  const at = all.indexOf(document.activeElement);
  if (event.key === "ArrowDown" && all.length) all[Math.min(at + 1, all.length - 1)].focus();
  else if (event.key === "ArrowUp" && all.length) (all[at - 1] ?? $("search")).focus();
  else if (event.key === "Enter" && all.length) {
    all[Math.max(at, 0)].click();
    canvas.focus();
  } else if (event.key === "Escape") {
    list.replaceChildren();
    $("search").value = "";
    canvas.focus();
  } else return;
  event.preventDefault();
}
