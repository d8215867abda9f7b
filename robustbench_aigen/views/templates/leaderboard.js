{
  const board = JSON.parse(document.getElementById("data").textContent);
  const control = (id) => document.getElementById(id);
  const rows = [...document.querySelectorAll("tr[data-row]")].map((row) => ({
    row, ...board.rows[row.dataset.row],
    cells: Object.fromEntries([...row.querySelectorAll("[data-kind]")].map((cell) => [cell.dataset.kind, cell])),
  }));
  const table = document.querySelector("table.sortable");
  const passing = new Set();
  // Rows that are not drawn cost no layout, which takes most of the time of sorting.
  let most = 100;
  const fold = () => {
    let count = 0;
    for (const row of table.tBodies[0].rows) row.hidden = !passing.has(row) || (count += 1) > most;
    control("more").hidden = count <= most;
    const folded = count > most ? `, the first ${most} are shown` : "";
    control("status").textContent = `${count} ${count === 1 ? "detector" : "detectors"}${folded}`;
  };
  const choose = (select, names) => {
    select.replaceChildren(...names.map((name) => new Option(name)));
  };
  const draw = (cell, [accuracy, low, high]) => {
    cell.dataset.number = accuracy;
    cell.textContent = `${accuracy.toFixed(1)} (${low.toFixed(1)}–${high.toFixed(1)})`;
    for (const [name, value] of Object.entries({ low, high, at: accuracy })) cell.style.setProperty(`--${name}`, `${value}%`);
  };
  const update = () => {
    const suite = control("suite").value, group = control("group").value, size = control("size").value;
    const shown = { clean: "clean", attack: control("attack").value, degradation: control("degradation").value };
    passing.clear();
    for (const { row, cells, ...entry } of rows) {
      const isSeen = control("unseen").checked && entry.generators.includes(group);
      const isFlagged = control("sound").checked && entry.flagged;
      const isLarge = size !== "" && (entry.parameters === null || entry.parameters > Number(size));
      const numbers = (kind) => entry.numbers[shown[kind]]?.[group];
      if (entry.suite !== suite || isSeen || isFlagged || isLarge || !numbers("clean")) continue;
      passing.add(row);
      for (const kind of Object.keys(shown)) draw(cells[kind], numbers(kind));
      const [, , , best, worst] = numbers(control("rank").value);
      cells.rank.dataset.number = best;
      cells.rank.textContent = best === worst ? best : `${best}–${worst}`;
    }
    control("attack-title").textContent = shown.attack;
    control("degradation-title").textContent = shown.degradation;
    // The order follows the new numbers: by rank, and by accuracy within a rank.
    const place = { clean: 2, attack: 3, degradation: 4 }[control("rank").value];
    const heads = table.querySelectorAll("thead th");
    for (const [column, clicks] of [[place, 2], [1, 1]]) {
      heads[column].removeAttribute("aria-sort");
      for (let click = 0; click < clicks; click += 1) heads[column].querySelector("button").click();
    }
  };
  control("suite").addEventListener("change", () => {
    const { attacks, degradations } = board.suites[control("suite").value];
    choose(control("attack"), attacks);
    choose(control("degradation"), degradations);
  });
  for (const id of ["suite", "group", "attack", "degradation", "rank", "size", "unseen", "sound"]) {
    control(id).addEventListener("change", update);
  }
  table.addEventListener("sorted", fold);
  control("more").addEventListener("click", () => {
    most = Infinity;
    fold();
    table.parentElement.focus();
  });
  update();
}
