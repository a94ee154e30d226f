// What the page's scripts share: its data, what is chosen in it, and how elements are made.

const find = id => document.getElementById(id);
const study = JSON.parse(find("study-data")?.textContent ?? "{}");
const numTrials = study.number?.length ?? 0;

// make(tag, attributes, ...children): strings among the children are text, never markup.
const makeIn = space => (tag, attributes = {}, ...children) => {
  const made = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};
const make = makeIn("http://www.w3.org/1999/xhtml");
const draw = makeIn("http://www.w3.org/2000/svg");

// Numbers as the tables write them: three digits that count.
const numberText = value => {
  if (typeof value !== "number" || (Number.isInteger(value) && Math.abs(value) < 1e6)) return String(value);
  const small = Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6;
  return small ? value.toExponential(2).replace(/\.?0*e\+?/, "e") : String(Number(value.toPrecision(3)));
};
const metricText = (metric, value) =>
  value === null ? "" : metric.share ? `${(100 * value).toFixed(1)}\u00a0%` : value.toFixed(3);
const countText = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;

// Round numbers between two ends, about so many.
const ticksBetween = (low, high, about) => {
  const rough = (high - low) / about || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find(by => by * power >= rough) ?? 10), ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1)
    ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
};

// A trial's value of a parameter: a number, a level's text, or null where it was not in use.
const valueOf = (param, trial) => {
  const value = param.values[trial];
  return value === null || !param.levels ? value : param.levels[value];
};

// An axis of the parallel plot gives every trial a height from 0 to 1, null where it has none.
// Trials that did not use a parameter lie at 0, below a gap.
const makeAxis = (name, title, values, { levels, log = false, gap = true }) => {
  const scale = log ? Math.log10 : value => value;
  const known = values.filter(value => value !== null);
  const low = levels ? 0 : scale(Math.min(...known)), high = levels ? levels.length - 1 : scale(Math.max(...known));
  const unused = gap && known.length < values.length, floor = unused ? 0.12 : 0;
  const heightOf = value => floor + (1 - floor) * (high > low ? (scale(value) - low) / (high - low) : 0.5);
  const valueAt = height => {
    const at = low + Math.max(0, (height - floor) / (1 - floor)) * (high - low);
    return log ? 10 ** at : at;
  };
  const heights = values.map(value => (value !== null ? heightOf(value) : gap ? 0 : null));
  const distinct = [...new Set(known)], few = distinct.length <= 6 && name ? distinct : null;
  return { name, title, levels, few, log, unused, floor, low: valueAt(floor), high: valueAt(1), heightOf, valueAt, heights };
};
const axes = (study.axes ?? []).map(name => {
  const param = study.params.find(other => other.name === name);
  return makeAxis(name, name, param.values, param);
});
if (axes.length)
  axes.push(makeAxis("", study.metric.title, study.value, { gap: false }));

// What is chosen: the words of the filter, a range of heights by axis, the sorted column.
const memory = `seed-search ${location.pathname}`;
const view = { words: "", ranges: {}, sort: "", up: true, all: false, matching: [], open: -1 };
const drawn = []; // functions to call when it changes
try {
  const { words = "", ranges = {}, sort = "", up = true, all = false } = JSON.parse(sessionStorage.getItem(memory) ?? "{}");
  Object.assign(view, { words, ranges, sort, up, all });
} catch { /* without storage nothing is remembered */ }
for (const name of Object.keys(view.ranges))
  if (!axes.some(axis => axis.name === name)) delete view.ranges[name];

let wordsHold = () => true; // the table replaces it
const rangesHold = trial => axes.every(axis => {
  const range = view.ranges[axis.name], height = axis.heights[trial];
  return !range || (height !== null && height >= range[0] && height <= range[1]);
});

const refresh = () => {
  const { words, ranges, sort, up, all } = view;
  view.matching = [];
  for (let trial = 0; trial < numTrials; trial += 1)
    if (rangesHold(trial) && wordsHold(trial)) view.matching.push(trial);
  for (const redraw of drawn) redraw();
  try {
    sessionStorage.setItem(memory, JSON.stringify({ words, ranges, sort, up, all }));
  } catch { /* as above */ }
};

const isFiltered = () => view.words.trim() !== "" || Object.keys(view.ranges).length > 0;
const rangeText = (axis, [from, to]) => {
  const title = axis.title, parts = [];
  if (axis.unused && from <= 0) parts.push("not used");
  if (axis.levels) parts.push(...axis.levels.filter((_, k) => axis.heightOf(k) >= from && axis.heightOf(k) <= to));
  else if (axis.heightOf(axis.low) <= to) {
    const text = value => (axis.name ? numberText(value) : metricText(study.metric, value));
    parts.push(`${text(axis.valueAt(from))} to ${text(axis.valueAt(to))}`);
  }
  return `${title}: ${parts.join(", ") || "none"}`;
};
// Buttons that take one range away each.
const rangeButtons = () => axes.filter(axis => view.ranges[axis.name]).map(axis => {
  const button = make("button", { type: "button", class: "chip", title: "Remove this range" },
    rangeText(axis, view.ranges[axis.name]), " ×");
  button.addEventListener("click", () => { delete view.ranges[axis.name]; refresh(); });
  return button;
});

for (const figure of document.querySelectorAll("figure"))
  figure.querySelector("button").addEventListener("click", () => figure.classList.toggle("full"));
