for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const value = (row) => row.cells[column].dataset.number ?? "";
      const text = (row) => row.cells[column].textContent.trim();
      const rows = [...body.rows].sort((a, b) => {
        if (head.dataset.kind !== "number") {
          return (down ? -1 : 1) * text(a).localeCompare(text(b), undefined, { numeric: true });
        }
        // Empty cells stay at the end in both directions.
        if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
        return (down ? -1 : 1) * (value(a) - value(b));
      });
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
    });
  });
}
