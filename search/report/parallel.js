// Parallel coordinates: one line a trial. Hover or arrow keys read a line, a click opens its trial,
// dragging along an axis keeps what lies in the range, here and in the table.

(() => {
  const figure = find("plot-parallel");
  if (!figure || !axes.length) return;
  const MAX_LINES = 300, MAX_FAINT = 150; // more cannot be told apart, and would be slow
  const LEFT = 24, RIGHT = 64, TOP = 44, BOTTOM = 16, HEIGHT = 380, GAP = 124, REACH = 14; // px
  const bottom = HEIGHT - BOTTOM, tall = bottom - TOP;

  const picture = draw("svg", { height: HEIGHT, tabindex: 0, role: "group", "aria-label":
    "Parallel coordinates of the trials. Arrow keys read one trial after the other, the best first; Enter opens it." });
  const layers = ["faint", "lines", "axes", "ranges", "reading"].map(name => draw("g", { class: name }));
  const [faintLayer, lineLayer, axisLayer, rangeLayer, readingLayer] = layers;
  picture.append(...layers);
  const HINT = "Drag along an axis to keep a range, in the table too. Point at a line to read it, click it to open its trial.";
  const chips = make("p", { class: "chips" });
  const note = make("p", { class: "soft" });
  const readout = make("p", { class: "readout", "aria-live": "polite" });
  const box = make("div", { class: "scroll" }, picture);
  figure.prepend(make("div", { class: "parallel" }, box, chips, note, readout));
  figure.classList.add("drawn");

  // Best first, those without a value left out; how good each is from 0 to 1, the worst 5 % alike.
  const sign = study.metric.maximize ? -1 : 1;
  const ranking = study.value.map((_, trial) => trial).filter(trial => study.value[trial] !== null)
    .sort((a, b) => sign * (study.value[a] - study.value[b]));
  const top = study.value[ranking[0]], weak = study.value[ranking[Math.floor(0.95 * (ranking.length - 1))]];
  const goodness = trial => (top === weak ? 1 : Math.max(0, (study.value[trial] - weak) / (top - weak)) ** 2);

  let x = [], shown = [], reading = -1;
  const y = height => bottom - height * tall;
  // Trials of one level are spread a little, always in the same way.
  const heightsOf = trial => axes.map((axis, k) =>
    y(axis.heights[trial]) + (axis.levels ? ((((trial + 1) * (k + 7) * 0.618) % 1) - 0.5) * 9 : 0));
  const pathOf = heights => `M${heights.map((at, k) => `${x[k].toFixed(1)} ${at.toFixed(1)}`).join("L")}`;
  const evenly = (list, count) => (list.length <= count ? list
    : Array.from({ length: count }, (_, k) => list[Math.floor((k * list.length) / count)]));
  const short = (text, limit) => (text.length <= limit ? text : `${text.slice(0, limit - 1)}…`);
  const titled = (element, text) => { element.append(draw("title", {}, text)); return element; };

  const ticksOf = axis => {
    if (axis.levels) return axis.levels.map((level, k) => [k, level]);
    const text = value => (axis.name ? numberText(value) : study.metric.share ? numberText(100 * value) : numberText(value));
    if (axis.few) return axis.few.map(value => [value, text(value)]);
    let ticks = ticksBetween(axis.low, axis.high, 5);
    if (axis.log) {
      ticks = ticksBetween(Math.log10(axis.low), Math.log10(axis.high), 5).map(power => 10 ** power);
      ticks = ticks.filter(value => Math.abs(Math.log10(value) % 1) < 1e-9);
      if (ticks.length < 2) ticks = [axis.low, axis.high];
    }
    return ticks.map(value => [value, text(value)]);
  };

  const drawAxes = () => {
    const width = Math.max(box.clientWidth, LEFT + RIGHT + GAP * (axes.length - 1));
    const gap = (width - LEFT - RIGHT) / (axes.length - 1);
    x = axes.map((_, k) => LEFT + k * gap);
    picture.setAttribute("width", width);
    axisLayer.replaceChildren(...axes.flatMap((axis, k) => {
      const title = short(axis.name ? axis.title : study.metric.share ? `${axis.title} (%)` : axis.title, Math.floor((k === 0 ? 0.78 : 0.95) * gap / 8.2));
      const anchor = k === 0 ? "start" : k === axes.length - 1 ? "end" : "middle";
      const at = k === 0 ? x[k] - LEFT + 4 : k === axes.length - 1 ? width - 6 : x[k];
      const ticks = evenly(ticksOf(axis), 24).map(([value, text]) => titled(
        draw("text", { class: "tick", x: x[k] + 7, y: y(axis.heightOf(value)) + 4 }, short(text, Math.floor(gap / 7))), text));
      if (axis.unused) ticks.push(draw("text", { class: "tick unused", x: x[k] + 7, y: y(0) + 4 }, "not used"));
      const strip = titled(draw("rect", { class: "strip", x: x[k] - 13, y: TOP - 8, width: 26, height: tall + 16 }),
        `Drag to keep a range of ${axis.title}`);
      strip.addEventListener("pointerdown", event => dragRange(event, strip, axis));
      return [draw("path", { class: "axis", d: `M${x[k]} ${TOP}V${bottom}` }), ...ticks,
        titled(draw("text", { class: "title", x: at, y: 20, "text-anchor": anchor }, title), axis.title), strip];
    }));
    drawLines();
  };

  const drawLines = () => {
    const matching = new Set(view.matching);
    const kept = ranking.filter(trial => matching.has(trial));
    const half = MAX_LINES / 2, best = kept.length > MAX_LINES ? half : kept.length;
    shown = [...kept.slice(0, best), ...evenly(kept.slice(best), half)];
    const others = evenly(ranking.filter(trial => !matching.has(trial)), MAX_FAINT);
    faintLayer.replaceChildren(draw("path", { d: others.map(trial => pathOf(heightsOf(trial))).join("") }));
    lineLayer.replaceChildren(...shown.toReversed().map(trial => draw("path", {
      d: pathOf(heightsOf(trial)), style: `--good:${goodness(trial).toFixed(2)}`, "data-trial": study.number[trial],
    })));
    lineLayer.classList.toggle("many", shown.length > 60);
    lineLayer.classList.toggle("crowd", shown.length > 200);
    rangeLayer.replaceChildren(...axes.flatMap((axis, k) => {
      const range = view.ranges[axis.name];
      return range ? [draw("rect", { x: x[k] - 7, width: 14, y: y(Math.min(1, range[1])),
        height: Math.max(2, (Math.min(1, range[1]) - Math.max(0, range[0])) * tall) })] : [];
    }));
    chips.replaceChildren(...rangeButtons());
    const part = best < kept.length ? ` Drawn are the ${best} best and ${(shown.length - best)} of the other ${(kept.length - best).toLocaleString("en")}, evenly chosen: keep a range to see more of it.` : "";
    const of = isFiltered() ? `${kept.length.toLocaleString("en")} of ` : "";
    note.textContent = `${of}${countText(ranking.length, "trial")} with a value, a line each; stronger lines are better.${part}`;
    if (!matching.has(reading)) reading = -1;
    read(reading);
  };

  const read = trial => {
    reading = trial;
    const both = [...new Set([view.open, trial])].filter(other => ranking.includes(other));
    readingLayer.replaceChildren(...both.map(other => draw("path", { d: pathOf(heightsOf(other)) })));
    picture.classList.toggle("busy", trial >= 0);
    if (trial < 0) {
      readout.textContent = HINT;
      return;
    }
    const texts = axes.map(axis => {
      const param = study.params.find(other => axis.name && other.name === axis.name);
      const value = param && valueOf(param, trial);
      return param ? (value === null ? "not used" : numberText(value)) : metricText(study.metric, study.value[trial]);
    });
    const heights = heightsOf(trial), last = axes.length - 1;
    readingLayer.append(...texts.map((text, k) => draw("text", { x: x[k] + 7, y: heights[k] + 4 }, short(text, 22))));
    readout.textContent = `Trial ${study.number[trial]}, ${study.state[trial]}: ${axes[last].title} ${texts[last]}; `
      + axes.slice(0, last).map((axis, k) => `${axis.title} ${texts[k]}`).join(", ");
  };

  // The drawn line nearest to the pointer, -1 when none is near.
  const nearest = event => {
    const place = picture.getBoundingClientRect(), at = event.clientX - place.left, level = event.clientY - place.top;
    const k = Math.max(0, Math.min(axes.length - 2, x.findLastIndex(other => other <= at)));
    const share = Math.max(0, Math.min(1, (at - x[k]) / (x[k + 1] - x[k])));
    let found = -1, least = REACH;
    for (const trial of shown) {
      const heights = heightsOf(trial);
      const away = Math.abs(heights[k] + share * (heights[k + 1] - heights[k]) - level);
      if (away < least) [found, least] = [trial, away];
    }
    return found;
  };

  let waiting = false;
  const later = action => { // at most once a frame
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; action(); });
  };
  const dragRange = (event, strip, axis) => {
    const heightAt = at => (bottom - (at.clientY - picture.getBoundingClientRect().top)) / tall;
    const from = heightAt(event), begin = event.clientY;
    event.preventDefault();
    strip.setPointerCapture(event.pointerId);
    strip.onpointermove = at => {
      const to = heightAt(at);
      if (Math.abs(at.clientY - begin) > 3) view.ranges[axis.name] = [Math.min(from, to), Math.max(from, to)];
      later(refresh);
    };
    strip.onpointerup = strip.onpointercancel = at => {
      strip.onpointermove = strip.onpointerup = strip.onpointercancel = null;
      if (Math.abs(at.clientY - begin) <= 3) delete view.ranges[axis.name];
      refresh();
    };
  };

  picture.addEventListener("pointermove", event => { if (!event.buttons) later(() => read(nearest(event))); });
  picture.addEventListener("pointerleave", () => later(() => read(-1)));
  picture.addEventListener("click", event => {
    const trial = event.target.closest(".strip") ? -1 : nearest(event);
    if (trial >= 0) view.show(trial, picture);
  });
  picture.addEventListener("focus", () => { if (picture.matches(":focus-visible") && reading < 0) read(shown[0] ?? -1); });
  picture.addEventListener("keydown", event => {
    const place = shown.indexOf(reading), last = shown.length - 1;
    const next = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0, End: last }[event.key];
    if (event.key === "Enter" && reading >= 0) view.show(reading, picture);
    if (next === undefined || !shown.length) return;
    event.preventDefault();
    read(shown[Math.max(0, Math.min(last, next))]);
  });
  drawn.push(drawLines);
  drawAxes();
  new ResizeObserver(() => later(drawAxes)).observe(box);
})();
