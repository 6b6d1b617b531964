document.querySelectorAll("table.sort thead th").forEach((head) => {
  head.tabIndex = 0;
  const sort = () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    head.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const text = (row) => {
      const cell = row.cells[head.cellIndex];
      return cell.dataset.v ?? cell.textContent.replaceAll(",", "");
    };
    const number = (word) => (word === "" ? NaN : Number(word));
    const compare = (a, b) => {
      const [x, y] = [number(a), number(b)];
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
      return up ? order : -order;
    };
    const rows = [...body.rows].map((row) => [text(row), row]);
    rows.sort((a, b) => compare(a[0], b[0]));
    body.append(...rows.map((pair) => pair[1]));
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    sort();
  });
});

// A link into a closed part opens it, and paper has no parts to open.
const open = (all) => all.forEach((part) => { part.open = true; });
const follow = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  for (let part = target; part; part = part.parentElement) if (part.matches("details")) part.open = true;
};
addEventListener("hashchange", follow);
addEventListener("beforeprint", () => open(document.querySelectorAll("details")));
follow();
