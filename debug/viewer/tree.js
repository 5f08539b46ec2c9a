// The boxes of a stage as a tree of layers.

const CROWDED = 400; // children of a group above which they are put together in stretches
const STRETCH = 60;
const OPEN = 320; // boxes that are shown at first: layers stay closed where there would be more

/** The layers of a stage as a tree; leaves have `box`, groups have `children`. */
function treeOf(stage) {
  const root = { key: "", label: data.name, children: [], parent: null };
  const groups = new Map([["", root]]);
  for (const i of data.stages[stage].boxes) {
    const box = data.boxes[i];
    let parent = root;
    for (const part of box.group) {
      const key = `${parent.key}/${part}`;
      if (!groups.has(key)) {
        const made = { key, label: part, children: [], parent };
        groups.set(key, made);
        parent.children.push(made);
      }
      parent = groups.get(key);
    }
    parent.children.push({ key: `#${box.id}`, box, parent });
  }
  flatten(root);
  stretches(root);
  number(root, { next: 0 });
  return root;
}

/** Groups of one are no groups. */
function flatten(group) {
  group.children = group.children.map((child) => {
    if (!child.children) return child;
    flatten(child);
    if (child.children.length !== 1) return child;
    const [only] = child.children;
    only.parent = group;
    if (only.children) only.label = `${child.label}/${only.label}`;
    return only;
  });
}

/** Cut very many children into stretches, at places that few values cross. */
function stretches(group) {
  for (const child of group.children) if (child.children) stretches(child);
  const all = group.children;
  if (all.length <= CROWDED) return;
  const crossing = crossings(all);
  const cuts = [0];
  while (all.length - cuts.at(-1) > 1.5 * STRETCH) {
    let best = cuts.at(-1) + STRETCH;
    for (let i = cuts.at(-1) + STRETCH / 2; i < Math.min(all.length, cuts.at(-1) + 1.5 * STRETCH); i++)
      if (crossing[i] < crossing[best]) best = i;
    cuts.push(best);
  }
  group.children = cuts.map((start, i) => {
    const part = all.slice(start, cuts[i + 1] ?? all.length);
    const made = { key: `${group.key}/~${start}`, children: part, parent: group };
    made.label = `${labelOf(part[0])} … ${labelOf(part.at(-1))}`;
    for (const child of part) child.parent = made;
    return made;
  });
  stretches(group);
}

/** How many values are made before child i and read from it on. */
function crossings(children) {
  const place = new Map(),
    change = new Array(children.length + 1).fill(0),
    last = new Map();
  children.forEach((child, i) => leaves(child).forEach(({ box }) => box.out.forEach((v) => place.set(v, i))));
  children.forEach((child, i) => leaves(child).forEach(({ box }) => box.in.forEach((v) => last.set(v, i))));
  for (const [v, end] of last) {
    const start = place.get(v);
    if (start === undefined || start >= end) continue;
    change[start + 1] += 1;
    change[end + 1] = (change[end + 1] || 0) - 1;
  }
  let now = 0;
  return change.map((c) => (now += c));
}

function leaves(item, found = []) {
  if (item.box) found.push(item);
  else for (const child of item.children) leaves(child, found);
  return found;
}

function number(item, counter) {
  item.order = counter.next;
  if (item.box) counter.next += 1;
  else for (const child of item.children) number(child, counter);
  item.count = counter.next - item.order;
}

const labelOf = (item) => (item.box ? item.box.op : item.label);
const captionOf = (box) => box.group.at(-1) || "";
