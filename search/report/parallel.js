// Parallel coordinates: one line a trial. Hover or arrow keys read a line, a click opens its trial,
// dragging along an axis keeps what lies in the range, here and in the table. By keyboard the two
// ends of a range are sliders.

(() => {
  const figure = find("plot-parallel");
  if (!figure || !axes.length) return;
  const MAX_LINES = 300, MAX_FAINT = 150; // more cannot be told apart, and would be slow
  const LEFT = 24, RIGHT = 64, TOP = 44, BOTTOM = 16, HEIGHT = 380, GAP = 124, REACH = 14; // px
  const bottom = HEIGHT - BOTTOM, tall = bottom - TOP;

  const picture = draw("svg", { height: HEIGHT, tabindex: 0, role: "group", "aria-label":
    "Parallel coordinates of the trials. Arrow keys read one trial after the other, the best first; Enter opens it." });
  const layers = ["faint", "lines", "axes", "ranges", "handles", "reading"].map(name => draw("g", { class: name }));
  const [faintLayer, lineLayer, axisLayer, rangeLayer, handleLayer, readingLayer] = layers;
  picture.append(...layers);
  const HINT = "Drag along an axis to keep a range, in the table too (by keyboard: Tab to its ends, arrows move one, Escape lets go). Point at a line to read it, click it to open its trial.";
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
    const text = value => (axis.name ? numberText(value) : study.metric.share ? `${numberText(100 * value)}\u00a0%` : numberText(value));
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
      const room = k === axes.length - 1 ? gap + RIGHT - 18 - Math.min(8.2 * axes[k - 1].title.length, 0.95 * gap) / 2 : (k === 0 ? 0.78 : 0.95) * gap;
      const title = short(axis.title, Math.floor(room / 8));
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
    handles.forEach(placeHandle);
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
      if (readout.textContent !== HINT) readout.textContent = HINT; // told aloud when it changes
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

  // The heights at which the end of a range may stand: each level, or steps of a twentieth.
  const stopsOf = axis => {
    const { levels, few, floor } = axis;
    const heights = levels ? levels.map((_, k) => axis.heightOf(k)) : few ? few.map(axis.heightOf)
      : Array.from({ length: 21 }, (_, k) => floor + ((1 - floor) * k) / 20);
    return [...(axis.unused ? [0] : []), ...heights].sort((a, b) => a - b);
  };
  const endOf = ({ axis, stops, end }) =>
    Math.max(stops[0], Math.min(stops.at(-1), view.ranges[axis.name]?.[end] ?? (end ? stops.at(-1) : stops[0])));
  const endText = (axis, height) => {
    if (axis.unused && height < axis.floor / 2) return "not used";
    if (axis.levels) return axis.levels.findLast((_, k) => axis.heightOf(k) <= height + 1e-9) ?? axis.levels[0];
    return axis.name ? numberText(axis.valueAt(height)) : metricText(study.metric, axis.valueAt(height));
  };
  const placeHandle = handle => {
    const { axis, end, mark } = handle, height = endOf(handle), at = x[axes.indexOf(axis)];
    mark.setAttribute("d", `M${at} ${y(height)}l-9 ${end ? -11 : 11}h18z`);
    mark.setAttribute("aria-valuenow", Math.round(100 * height));
    mark.setAttribute("aria-valuetext", endText(axis, height));
    mark.classList.toggle("set", axis.name in view.ranges);
  };
  const moveEnd = (handle, steps) => {
    const { axis, stops, end } = handle, height = endOf(handle);
    const above = stops.filter(stop => stop > height + 1e-9), below = stops.filter(stop => stop < height - 1e-9);
    const next = steps > 0 ? above[Math.min(steps, above.length) - 1] : below.at(Math.max(steps, -below.length));
    if (next === undefined) return;
    const other = endOf({ axis, stops, end: 1 - end });
    const range = end ? [other, Math.max(next, other)] : [Math.min(next, other), other];
    if (range[0] <= stops[0] && range[1] >= stops.at(-1)) delete view.ranges[axis.name];
    else view.ranges[axis.name] = range;
    refresh();
  };
  const handles = axes.flatMap(axis => [0, 1].map(end => {
    const mark = draw("path", { class: "handle", tabindex: 0, role: "slider", "aria-orientation": "vertical",
      "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": `${end ? "Highest" : "Lowest"} ${axis.title} kept` });
    const handle = { axis, end, mark, stops: stopsOf(axis) };
    mark.addEventListener("keydown", event => {
      const all = handle.stops.length;
      const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 4, PageDown: -4, Home: -all, End: all }[event.key];
      if (event.key === "Escape" && axis.name in view.ranges) {
        delete view.ranges[axis.name];
        refresh();
      } else if (steps) moveEnd(handle, steps);
      else return;
      event.preventDefault();
      event.stopPropagation(); // an open trial stays open
    });
    return handle;
  }));
  handleLayer.append(...handles.map(({ mark }) => mark));

  let waiting = false;
  const later = action => { // at most once a frame
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; action(); });
  };
  const dragRange = (event, strip, axis) => {
    const heightAt = at => (bottom - (at.clientY - picture.getBoundingClientRect().top)) / tall;
    const ends = view.ranges[axis.name] ?? [], begin = event.clientY;
    // Taken at one end of a range, the other one stays.
    const held = ends.findIndex(end => Math.abs(end - heightAt(event)) * tall < REACH / 2);
    const from = held < 0 ? heightAt(event) : ends[1 - held];
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
    if (event.target !== picture) return; // a handle's own
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
