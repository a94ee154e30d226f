// One trial, opened beside the page: how it ended, its curve, its parameters, and how to repeat it.

(() => {
  const panel = find("trial-detail");
  if (!panel || !numTrials) return;
  const WIDTH = 440, HEIGHT = 150, LEFT = 40, RIGHT = 12, TOP = 22, BOTTOM = 20; // of a chart, in px
  let opener = null;

  const stateText = trial => {
    const run = study.epochs_run[trial] ?? 0, after = `after ${countText(run, "epoch")}`;
    return {
      complete: `Complete: trained for all its ${countText(run, "epoch")}.`,
      pruned: `Stopped ${after}: it was among the weaker trials compared there.`,
      failed: `Failed ${after}.`,
      interrupted: `Interrupted ${after}; the same command goes on with it.`,
      infeasible: "It breaks a constraint.",
      running: `Under way, ${after}.`,
    }[study.state[trial]] ?? study.state[trial];
  };

  // One chart over epochs. lines: [title, class, values]; the y axis holds what they hold.
  const chart = (title, epochs, lines, metric, best) => {
    const known = lines.flatMap(([, , values]) => values.filter(value => value !== null));
    const last = Math.max(study.max_epochs, ...epochs), first = Math.min(1, ...epochs);
    const low = Math.min(...known), high = Math.max(...known), pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    const x = epoch => LEFT + (WIDTH - LEFT - RIGHT) * (last > first ? (epoch - first) / (last - first) : 0.5);
    const y = value => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low + pad) / (high - low + 2 * pad));
    const label = (text, at, className = "") => draw("text", { ...at, class: className }, text);
    const made = draw("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "chart",
      "aria-label": `${title} over ${countText(epochs.length, "epoch")}`,
    });
    for (const value of ticksBetween(low - pad, high + pad, 4)) {
      made.append(draw("path", { class: "grid", d: `M${LEFT} ${y(value)}H${WIDTH - RIGHT}` }));
      const text = metric?.share ? numberText(100 * value) : numberText(value);
      made.append(label(text, { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }));
    }
    for (const epoch of ticksBetween(first, last, 8).filter(Number.isInteger))
      made.append(label(String(epoch), { x: x(epoch), y: HEIGHT - 5, "text-anchor": "middle" }));
    study.rungs.filter(rung => rung <= last).forEach((rung, k) => {
      made.append(draw("path", { class: "rung", d: `M${x(rung)} ${TOP}V${HEIGHT - BOTTOM}` }));
      if (k === 0) made.append(label("rung", { x: x(rung) + 4, y: TOP + 9 }, "faint"));
    });
    const heading = label(metric?.share ? `${title} (%)` : title, { x: 0, y: 12 }, "title");
    for (const [name, className, values] of lines) {
      if (lines.length > 1) heading.append(draw("tspan", { class: className, dx: 10 }, name));
      const points = epochs.map((epoch, k) => [x(epoch), values[k]]).filter(([, value]) => value !== null);
      const path = points.map(([at, value]) => `${at.toFixed(1)} ${y(value).toFixed(1)}`).join("L");
      if (points.length) made.append(draw("path", { class: `line ${className}`, d: `M${path}` }));
      if (points.length < 30)
        for (const [at, value] of points)
          made.append(draw("circle", { class: className, cx: at, cy: y(value), r: 2.2 }));
    }
    const at = epochs.indexOf(best), value = at < 0 ? null : lines[0][2][at];
    if (value !== null && value !== undefined)
      made.append(draw("circle", { class: "best", cx: x(best), cy: y(value), r: 5.5 }));
    made.append(heading);
    return made;
  };

  const charts = trial => {
    const curve = study.curves[trial];
    if (!curve) {
      const why = study.epochs_run[trial] ? "left out here, to keep this page small: see study/epochs.csv" : "it finished no epoch";
      return [make("p", { class: "soft" }, `No learning curve: ${why}.`)];
    }
    const [epochs, values, train, val] = curve, any = list => list.some(value => value !== null);
    const losses = [["train", "train", train], ["val", "val", val]].filter(([, , list]) => any(list));
    const made = [];
    if (any(values))
      made.push(chart(study.curve.title, epochs, [["", "score", values]], study.curve, study.best_epoch[trial]));
    if (losses.length) made.push(chart("loss", epochs, losses));
    made.push(make("p", { class: "soft" }, "Over epochs. Ringed: the best epoch. Dashed: rungs, where trials are compared."));
    return made;
  };

  const pairs = entries => make("dl", { class: "facts" }, ...entries.flatMap(([name, text]) =>
    [make("dt", {}, name), make("dd", {}, text)]));

  // A value for YAML: what could be read as another kind is put in quotes.
  const yamlText = value => {
    const text = String(value);
    const isPlain = /^[A-Za-z][\w./-]*$/.test(text) && !/^(y|n|yes|no|on|off|null)$/i.test(text);
    return isPlain || /^-?[\d.]+(e[-+]?\d+)?$/i.test(text) ? text : JSON.stringify(text);
  };
  const startLine = trial => {
    const given = study.params.filter(param => study.start.includes(param.name) && valueOf(param, trial) !== null);
    return `  - {${given.map(param => `${param.name}: ${yamlText(valueOf(param, trial))}`).join(", ")}}`;
  };
  const copyBox = text => {
    const box = make("pre", { class: "copy", tabindex: "0" }, text);
    const button = make("button", { type: "button", class: "plain" }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch { // not allowed here: selected, so that one key copies it
        getSelection().selectAllChildren(box);
        button.textContent = "Selected: press Ctrl+C";
      }
    });
    return [box, button];
  };

  const fill = trial => {
    const close = make("button", { type: "button", class: "plain close", "aria-label": "Close" }, "×");
    const step = (by, text, label) => {
      const order = view.inOrder?.() ?? [], place = order.indexOf(trial), next = order[place + by];
      const button = make("button", { type: "button", class: "plain", "aria-label": label }, text);
      button.disabled = place < 0 || next === undefined;
      button.addEventListener("click", () => view.show(next, opener));
      return button;
    };
    close.addEventListener("click", view.hide);
    const title = make("h3", { id: "detail-title", tabindex: "-1" }, `Trial ${study.number[trial]} `,
      make("span", { class: `state ${study.state[trial]}` }, study.state[trial]));
    const facts = (view.facts?.(trial) ?? []).filter(([name]) => !["trial", "state", "error"].includes(name));
    if (study.worker[trial]) facts.push(["worker", study.worker[trial]]);
    const params = study.params.map(param => [param.name, valueOf(param, trial)])
      .filter(([, value]) => value !== null).map(([name, value]) => [name, numberText(value)]);
    const reason = study.reasons[trial];
    panel.replaceChildren(
      make("div", { class: "bar" }, title, step(-1, "‹", "Previous trial"), step(1, "›", "Next trial"), close),
      make("p", {}, stateText(trial)), ...(reason ? [make("p", { class: "banner" }, reason)] : []),
      pairs(facts), make("h4", {}, "Learning curve"), ...charts(trial),
      make("h4", {}, "Parameters"), pairs(params),
      make("h4", {}, "Try it again"),
      make("p", { class: "soft" }, "Under ", make("code", {}, "start_with:"), " of a space file this line repeats its parameters, unrounded."),
      ...copyBox(startLine(trial)),
    );
  };

  const mark = trial => {
    document.querySelector("tr.open")?.classList.remove("open");
    view.open = trial;
    if (trial >= 0) view.rowOf?.(trial).classList.add("open");
    for (const redraw of drawn) redraw();
  };
  const setHash = hash => {
    try { history.replaceState(null, "", hash || location.pathname + location.search); } catch { /* the page works without */ }
  };
  view.show = (trial, from) => {
    opener = from ?? opener;
    fill(trial);
    panel.hidden = false;
    panel.scrollTop = 0;
    mark(trial);
    setHash(`#trial-${study.number[trial]}`);
    find("detail-title").focus({ preventScroll: true });
  };
  view.hide = () => {
    panel.hidden = true;
    mark(-1);
    setHash("");
    if (opener?.isConnected) opener.focus({ preventScroll: true });
    opener = null;
  };

  const trialOf = hash => study.number.findIndex(number => hash === `#trial-${number}`);
  const follow = () => {
    const trial = trialOf(location.hash);
    if (trial < 0) return;
    view.show(trial, view.rowOf?.(trial).querySelector("a"));
    view.rowOf?.(trial).scrollIntoView({ block: "center" });
  };
  document.addEventListener("click", event => {
    const link = event.target.closest("a[href^='#trial-']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const trial = trialOf(link.getAttribute("href"));
    if (trial < 0) return;
    event.preventDefault();
    view.show(trial, link);
  });
  document.addEventListener("keydown", event => {
    if (event.key === "Escape" && !panel.hidden) view.hide();
  });
  addEventListener("hashchange", follow);
  view.follow = follow;
})();
