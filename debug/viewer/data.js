// Small helpers, the data of the page, and what the passes changed in it.
// Names come from files that nobody has to trust: they are only ever set as text, never as markup.
"use strict";

// ---- small helpers ------------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

/** An HTML element; children are elements or texts. */
function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function s(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return element;
}

function quantity(n, unit = "") {
  if (n === null || n === undefined) return "";
  for (const [size, prefix] of [
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ])
    if (Math.abs(n) >= size) return `${Number((n / size).toPrecision(3))} ${prefix}${unit}`;
  return `${Number(n.toPrecision(3))} ${unit}`.trim();
}

function duration(seconds) {
  for (const [size, unit] of [
    [1, "s"],
    [1e-3, "ms"],
    [1e-6, "µs"],
  ])
    if (seconds >= size) return `${Number((seconds / size).toPrecision(3))} ${unit}`;
  return `${Math.round(seconds * 1e9)} ns`;
}

const percent = (share) => (share === null ? "" : `${(100 * share).toFixed(1)} %`);
const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

/** A number that is always the same for a text, to choose a colour by. */
function hash(text) {
  let n = 7;
  for (let i = 0; i < text.length; i++) n = (n * 31 + text.charCodeAt(i)) >>> 0;
  return n;
}

// ---- the data -----------------------------------------------------------------------------------------------------

const data = JSON.parse($("data").textContent);
const HUES = {
  conv: 212,
  linalg: 212,
  recurrent: 265,
  norm: 30,
  pool: 160,
  elementwise: 95,
  shape: 190,
  reduce: 340,
  index: 15,
  control: 300,
  attention: 250,
  quant: 55,
  resize: 175,
  random: 320,
  sequence: 285,
  string: 285,
  signal: 230,
};
const hue = (family) => HUES[family] ?? hash(family || "") % 360;

const profiled = new Map(); // box id -> row of the profile
for (const row of data.profile?.nodes ?? []) if (row.box !== null) profiled.set(row.box, row);
const buffered = new Map(); // box id -> buffers
for (const buffer of data.memory?.buffers ?? []) {
  if (!buffered.has(buffer.box)) buffered.set(buffer.box, []);
  buffered.get(buffer.box).push(buffer);
}

const recordsOf = data.stages.map((stage) => new Map(stage.boxes.map((i) => [data.boxes[i].id, data.boxes[i]])));
const [valueName, valueType] = [(v) => data.values[v][0], (v) => data.values[v][1]];

const familyOf = new Map(data.boxes.filter((box) => box.family).map((box) => [box.op, box.family])); // of an op
const maker = new Map(); // value -> the op that makes it
for (const box of data.boxes) if (box.kind === "op") for (const v of box.out) maker.set(v, box.op);

/** What a stage is called: the first and the last are no passes. */
function titleOfStage(stage) {
  const { pass, settles } = data.stages[stage];
  return stage === 0 || settles ? pass : `after ${pass}`;
}

/** What a stage's pass did: ids of boxes added, changed, removed. */
function changesOf(stage) {
  if (changed[stage]) return changed[stage];
  const found = (changed[stage] = { added: [], changed: [], removed: [] });
  if (stage === 0) return found;
  const [before, after] = [recordsOf[stage - 1], recordsOf[stage]];
  const settled = data.stages[stage].settles; // where all shapes become numbers, that alone is no change
  for (const [id, record] of after) {
    const old = before.get(id);
    if (!old) found.added.push(id);
    else if (old !== record && (!settled || differences(old, record).some(([what]) => STRUCTURE.includes(what))))
      found.changed.push(id);
  }
  for (const id of before.keys()) if (!after.has(id)) found.removed.push(id);
  return found;
}

const changed = [],
  STRUCTURE = ["op", "operands", "layer", "note"];

/** In what two records of a box differ, as texts. */
function differences(before, after) {
  const names = (record) =>
    record.in
      .map((v) => (v === null ? "_" : maker.has(v) ? `${valueName(v)} (${maker.get(v)})` : valueName(v)))
      .join(", ");
  const lines = [];
  const compare = (what, a, b) => {
    if (a !== b) lines.push([what, a, b]);
  };
  compare("op", before.op, after.op);
  if (String(before.in) !== String(after.in)) compare("operands", names(before), names(after));
  compare("type", before.types.join(", "), after.types.join(", "));
  compare("layer", before.source || "", after.source || "");
  compare("note", before.note || "", after.note || "");
  for (const key of new Set([...Object.keys(before.attributes || {}), ...Object.keys(after.attributes || {})]))
    compare(key, shown(before.attributes?.[key]?.[0]), shown(after.attributes?.[key]?.[0]));
  return lines;
}

const shown = (value) =>
  value === undefined ? "" : Array.isArray(value) ? `(${value.map(shown).join(", ")})` : String(value);
