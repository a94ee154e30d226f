// The table of all trials: sorted by any column, filtered by words and conditions.

(() => {
  const table = find("all-trials");
  if (!table) return;
  const SHOWN = 200; // rows at first: thousands take the browser a second at every change
  const body = table.tBodies[0], rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells], titles = heads.map(head => head.textContent.trim());
  const names = titles.map(title => title.toLowerCase().replace(/ \(.*\)$/, "").replaceAll(" ", "_"));
  const input = find("find"), found = find("found"), chips = find("ranges");
  const all = find("show-all"), clear = find("clear-filter");
  let order = rows.map((_, trial) => trial);

  const keyOf = (trial, column) => {
    const cell = rows[trial].cells[column];
    return cell.dataset.v ?? cell.textContent;
  };
  const texts = []; // of whole rows, once asked for
  const textOf = trial =>
    (texts[trial] ??= [...rows[trial].cells].map(cell => cell.textContent).join(" ").toLowerCase());

  // "lr<0.01", "val_accuracy>80%" or "state=pruned" where the name is a column's; else words.
  const termOf = word => {
    const [, name, sign, given] = word.match(/^(.+?)(<=|>=|<|>|=)(.+)$/) ?? [];
    const column = names.indexOf(name);
    if (column < 0) return trial => textOf(trial).includes(word);
    const limit = given.endsWith("%") ? parseFloat(given) / 100 : Number(given);
    return trial => {
      const key = keyOf(trial, column), value = Number(key);
      if (key === "") return false;
      if (sign === "=") return key.toLowerCase() === given || value === limit;
      return sign[0] === "<" ? value < limit || (sign[1] && value === limit)
        : value > limit || (sign[1] && value === limit);
    };
  };
  let terms = [];
  const readWords = () => { terms = view.words.toLowerCase().split(/\s+/).filter(Boolean).map(termOf); };
  wordsHold = trial => terms.every(term => term(trial));

  const compare = (x, y) => (x === "" || isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
  const sortRows = () => {
    const column = titles.indexOf(view.sort);
    heads.forEach(head => head.removeAttribute("aria-sort"));
    order = rows.map((_, trial) => trial);
    if (column < 0) return;
    heads[column].setAttribute("aria-sort", view.up ? "ascending" : "descending");
    const keys = order.map(trial => keyOf(trial, column));
    order.sort((a, b) => {
      if (keys[a] === "" || keys[b] === "") return (keys[a] === "") - (keys[b] === "") || a - b;
      return (view.up ? 1 : -1) * compare(keys[a], keys[b]) || a - b;
    });
  };
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, titles[column]);
    button.addEventListener("click", () => {
      view.up = view.sort === titles[column] ? !view.up : true;
      view.sort = titles[column];
      sortRows();
      refresh();
    });
    head.replaceChildren(button);
  });

  const showRows = () => {
    const matching = new Set(view.matching), kept = order.filter(trial => matching.has(trial));
    const shown = view.all ? kept : kept.slice(0, SHOWN);
    body.replaceChildren(...shown.map(trial => rows[trial]));
    const of = isFiltered() ? `${kept.length.toLocaleString("en")} of ` : "";
    const first = shown.length < kept.length ? `, the first ${SHOWN} shown` : "";
    found.textContent = of || first ? `${of}${countText(rows.length, "trial")}${first}` : "";
    all.hidden = !first;
    clear.hidden = !isFiltered() && !view.sort;
    chips.replaceChildren(...rangeButtons());
  };
  // Rows in the order they are shown, for stepping from one trial to the next.
  view.inOrder = () => {
    const matching = new Set(view.matching);
    return order.filter(trial => matching.has(trial));
  };
  view.rowOf = trial => rows[trial];
  view.facts = trial => titles.map((title, column) => [title, rows[trial].cells[column].textContent])
    .filter(([title, text], column) => text && !study.params.some(param => param.name === names[column]));

  input.value = view.words;
  input.addEventListener("input", () => {
    view.words = input.value;
    readWords();
    refresh();
  });
  all.addEventListener("click", () => { view.all = true; refresh(); });
  clear.addEventListener("click", () => {
    Object.assign(view, { words: "", ranges: {}, sort: "", up: true });
    input.value = "";
    readWords();
    sortRows();
    refresh();
    input.focus();
  });
  body.addEventListener("click", event => {
    const row = event.target.closest("tr");
    if (!event.target.closest("a") && getSelection().isCollapsed)
      view.show(rows.indexOf(row), row.querySelector("a"));
  });
  find("filter").hidden = false;
  readWords();
  sortRows();
  drawn.push(showRows);
})();
