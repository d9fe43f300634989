"use strict";
// Sorts a table by the column whose heading is chosen, and hides what does not hold the text in a search field.
const number = (cell) => {
  const found = cell.textContent.replace(/,/g, "").match(/^\s*([+-]?\d+(\.\d+)?(e[+-]?\d+)?)/i);
  return found ? Number(found[1]) : null;
};
const compare = (a, b, way) => {
  const [x, y] = [number(a), number(b)];
  if (x !== null && y !== null) return way * (x - y);
  if (x !== null || y !== null) return x !== null ? -1 : 1;
  return way * a.textContent.localeCompare(b.textContent);
};
for (const table of document.querySelectorAll("table.sorted")) {
  table.querySelectorAll("thead th").forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const way = heading.getAttribute("aria-sort") === "descending" ? 1 : -1;
      table.querySelectorAll("thead th").forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
      const groups = [];
      for (const body of table.tBodies) {
        if (body.querySelector(".heading") || !groups.length) groups.push([]);
        groups[groups.length - 1].push(body);
      }
      for (const group of groups) {
        const rows = group.filter((body) => !body.querySelector(".heading"));
        rows.sort((a, b) => compare(a.rows[0].cells[column], b.rows[0].cells[column], way));
        const after = group[group.length - 1].nextSibling;
        rows.forEach((body) => table.insertBefore(body, after));
      }
    });
  });
}
for (const field of document.querySelectorAll("input[data-of]")) {
  field.addEventListener("input", () => {
    const wanted = field.value.toLocaleLowerCase();
    for (const each of document.getElementById(field.dataset.of).querySelectorAll("table.sorted tbody, .query")) {
      if (!each.querySelector(".heading")) each.hidden = !each.textContent.toLocaleLowerCase().includes(wanted);
    }
  });
}
document.documentElement.classList.add("scripted");
