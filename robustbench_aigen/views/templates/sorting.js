const collator = new Intl.Collator(undefined, { numeric: true });
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const isNumber = head.dataset.kind === "number";
      // Each cell is read once: a comparison reads two of them.
      const keyed = [...body.rows].map((row) => {
        const cell = row.cells[column];
        return { row, key: isNumber ? cell.dataset.number ?? "" : cell.textContent.trim() };
      });
      keyed.sort(({ key: a }, { key: b }) => {
        if (!isNumber) return (down ? -1 : 1) * collator.compare(a, b);
        // Empty cells stay at the end in both directions.
        if (a === "" || b === "") return (a === "") - (b === "");
        return (down ? -1 : 1) * (a - b);
      });
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      // Rows of a detached body move faster.
      const after = body.nextSibling;
      body.remove();
      body.append(...keyed.map(({ row }) => row));
      table.insertBefore(body, after);
      table.dispatchEvent(new Event("sorted"));
    });
  });
}
