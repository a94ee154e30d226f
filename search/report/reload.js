// The page of a study at work: it reloads every minute, but never under a reader's hands, and leaves
// them where they were. What is chosen (filter, ranges, order) `study.js` keeps.

(() => {
  const EVERY = 60e3, IDLE = 10e3, OLD = 600e3; // ms
  const place = `${memory} place`, opened = Date.now();
  const waits = find("waits"), updated = Number(waits.dataset.updated);
  let touched = opened;
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchmove", "scroll"])
    addEventListener(kind, () => { touched = Date.now(); }, { capture: true, passive: true });

  // A selector of an element, from the nearest one above it that has an id.
  const pathTo = element => {
    const steps = [];
    for (let at = element; at; at = at.parentElement) {
      if (at.id || at === document.body) return [at.id ? `#${CSS.escape(at.id)}` : "body", ...steps].join(" > ");
      steps.unshift(`:nth-child(${[...at.parentElement.children].indexOf(at) + 1})`);
    }
    return "";
  };
  // The place is told from what is on the screen: what stands above it may have grown.
  const keep = () => {
    const top = element => element.getBoundingClientRect().top;
    const above = [...document.querySelectorAll("section[id], figure[id]")].filter(element => top(element) < 100);
    const anchor = above.at(-1), boxes = [...document.querySelectorAll(".scroll")];
    const focused = document.activeElement === document.body ? "" : pathTo(document.activeElement);
    return {
      anchor: anchor?.id, at: anchor && top(anchor), y: scrollY, focused,
      boxes: boxes.filter(box => box.scrollLeft || box.scrollTop).map(box => [pathTo(box), box.scrollLeft, box.scrollTop]),
      unfolded: [...document.querySelectorAll("details[open]")].map(pathTo),
    };
  };
  const restore = ({ anchor, at, y, focused, boxes, unfolded }) => {
    const known = path => path && document.querySelector(path);
    for (const path of unfolded) known(path)?.setAttribute("open", "");
    for (const [path, left, top] of boxes) known(path)?.scrollTo({ left, top, behavior: "instant" });
    const element = anchor && find(anchor), hand = known(focused);
    const top = element ? scrollY + element.getBoundingClientRect().top - at : y;
    scrollTo({ top, behavior: "instant" });
    hand?.focus({ preventScroll: true });
    hand?.setSelectionRange?.(hand.value.length, hand.value.length);
  };
  try {
    const kept = sessionStorage.getItem(place);
    sessionStorage.removeItem(place);
    if (kept) restore(JSON.parse(kept));
  } catch { /* the page begins at its top */ }
  history.scrollRestoration = "auto";

  // Why it must wait: something that is looked at and would be gone.
  const reasonToWait = () => !find("trial-detail").hidden ? "a trial is open"
    : document.querySelector("figure.full") ? "a picture is enlarged"
    : getSelection().isCollapsed ? "" : "text is selected";
  const look = () => {
    find("stale").hidden = Date.now() - updated < OLD;
    const reason = reasonToWait(), text = reason ? `, but not while ${reason}` : "";
    if (waits.textContent !== text) waits.textContent = text;
    if (document.hidden || reason || Date.now() - opened < EVERY || Date.now() - touched < IDLE) return;
    try {
      sessionStorage.setItem(place, JSON.stringify(keep()));
      history.scrollRestoration = "manual";
    } catch { /* without storage the browser keeps what it can */ }
    location.reload();
  };
  setInterval(look, 1e3);
  document.addEventListener("visibilitychange", look);
  look();
})();
