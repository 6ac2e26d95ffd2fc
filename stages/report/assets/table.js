// The table of all expressions: sorted, filtered, and drawn as far as it is seen (Tabulator's virtual rows).
"use strict";
(() => {
  const { columns, rows, thumbs } = window.referee.table;
  const place = Object.fromEntries(columns.map((name, n) => [name, n]));
  const has = (name) => name in place;
  const data = rows.map((row, n) => ({ n, ...Object.fromEntries(columns.map((name, i) => [name, row[i]])) }));
  const link = (row) => `videos/${encodeURIComponent(row.page)}.html#${encodeURIComponent(row.id)}`;

  const shown = (cell, text) => make("span", { class: "number" }, text);
  const points = (cell) => shown(cell, percent(cell.getValue()));
  const plain = (cell) => shown(cell, cell.getValue() === null ? "–" : String(cell.getValue()));
  const difference = (cell) => {
    const value = cell.getValue();
    return value === null ? shown(cell, "–")
      : make("span", { class: `number change ${value > 0.005 ? "up" : value < -0.005 ? "down" : ""}` }, signed(100 * value));
  };
  const picture = (cell) => {
    const row = cell.getData();
    const name = `thumbs/${encodeURIComponent(row.page)}/${encodeURIComponent(row.id)}.jpg`;
    return make("img", { src: name, alt: "", loading: "lazy", decoding: "async" });
  };
  const sentence = (cell) => make("a", { href: link(cell.getData()) }, cell.getValue() || "(no words)");
  const words = (cell) => make("span", {}, cell.getValue() === null ? "" : String(cell.getValue()));

  const numeric = { sorter: "number", sorterParams: { alignEmptyValues: "bottom" }, hozAlign: "right", headerSortStartingDir: "desc" };
  const known = [
    { field: "thumb", title: "", formatter: picture, width: 100, headerSort: false, needs: null },
    { field: "sentence", title: "Expression", formatter: sentence, minWidth: 210, widthGrow: 4, sorter: "string" },
    { field: "video", title: "Video", formatter: words, width: 122, sorter: "string" },
    { field: "outcome", title: "Outcome", formatter: (cell) => badge(cell.getValue()), width: 118, sorter: "string" },
    { field: "jf", title: "J&F", formatter: points, width: 72, ...numeric },
    { field: "cost", title: "Cost", formatter: points, width: 76, ...numeric },
    { field: "choice", title: "by choice", formatter: points, width: 98, ...numeric },
    { field: "tracks", title: "by tracks", formatter: points, width: 98, ...numeric },
    { field: "other", title: "Other run", formatter: points, width: 102, ...numeric },
    { field: "change", title: "Change", formatter: difference, width: 90, ...numeric },
    { field: "group", title: "Group", formatter: words, width: 104, sorter: "string" },
    { field: "objects", title: "Objects", formatter: plain, width: 88, ...numeric },
    { field: "frames", title: "Frames", formatter: plain, width: 84, ...numeric },
    { field: "words", title: "Words", formatter: plain, width: 80, ...numeric },
  ].filter((column) => (column.field === "thumb" ? thumbs : has(column.field)));
  known.forEach((column) => delete column.needs);

  const sorts = known.filter((column) => column.field !== "thumb");
  const control = (id) => document.getElementById(id);
  control("sort").append(...sorts.map((column) => make("option", { value: column.field }, column.title)));
  const first = has("cost") ? "cost" : "video";
  control("sort").value = first;
  control("order").value = first === "cost" ? "desc" : "asc";

  const table = new Tabulator("#table", {
    data, columns: known, layout: "fitColumns", height: "calc(100vh - 17rem)", index: "n", rowHeight: thumbs ? 62 : 40,
    initialSort: [{ column: first, dir: first === "cost" ? "desc" : "asc" }], placeholder: "No expression is like this",
    columnHeaderSortMulti: false,
  });
  window.referee.grid = table;

  const wanted = () => ({
    text: control("search").value.trim().toLowerCase(), outcome: control("outcome").value,
    group: control("group") ? control("group").value : "", motion: control("motion").value, target: control("target") ? control("target").value : "",
  });
  const fits = (row, asked) =>
    (!asked.text || `${row.sentence} ${row.video} ${row.id}`.toLowerCase().includes(asked.text)) &&
    (!asked.outcome || row.outcome === asked.outcome) &&
    (!asked.group || row.group === asked.group) &&
    (!asked.motion || Boolean(row.motion) === (asked.motion === "some")) &&
    (!asked.target || (row.objects === 0) === (asked.target === "none"));
  const say = (count) => { control("count").textContent = `${count.toLocaleString("en")} of ${data.length.toLocaleString("en")} expressions`; };
  let ready = false;
  const filter = () => {
    if (!ready) return;
    table.setFilter(fits, wanted());
    const kept = new URLSearchParams(Object.entries(wanted()).filter(([, value]) => value));
    history.replaceState(null, "", kept.size ? `#${kept}` : location.pathname.split("/").pop());
  };
  const sort = () => ready && table.setSort(control("sort").value, control("order").value);

  const asked = new URLSearchParams(location.hash.slice(1));
  for (const [name, id] of [["text", "search"], ["outcome", "outcome"], ["group", "group"], ["motion", "motion"], ["target", "target"]]) {
    if (asked.get(name) && control(id)) control(id).value = asked.get(name);
  }
  if (asked.get("sort") && sorts.some((column) => column.field === asked.get("sort"))) {
    control("sort").value = asked.get("sort");
    control("order").value = asked.get("order") === "asc" ? "asc" : "desc";
  }
  for (const id of ["search", "outcome", "group", "motion", "target"]) if (control(id)) control(id).addEventListener("input", filter);
  control("sort").addEventListener("input", sort);
  control("order").addEventListener("input", sort);
  control("reset").addEventListener("click", () => {
    for (const id of ["search", "outcome", "group", "motion", "target"]) if (control(id)) control(id).value = "";
    filter();
  });
  table.on("dataFiltered", (_, found) => say(found.length));
  table.on("dataSorted", (sorters) => {
    if (!sorters.length) return;
    control("sort").value = sorters[0].field;
    control("order").value = sorters[0].dir;
  });
  table.on("tableBuilt", () => {
    ready = true;
    const holder = document.querySelector("#table .tabulator-tableholder"); // a grid holds groups of rows; this is only what scrolls
    holder.setAttribute("role", "presentation");
    holder.removeAttribute("tabindex");
    say(data.length);
    sort();
    filter();
    document.documentElement.dataset.ready = "table";
  });
})();
