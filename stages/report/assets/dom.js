// Elements from values. Text is always text: a sentence is never read as HTML.
"use strict";
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) element.append(child);
  return element;
}
const percent = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(1));
const signed = (value, digits = 1) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
const sigmoid = (value) => 1 / (1 + Math.exp(-value));
const badge = (outcome) => make("span", { class: `badge ${outcome.split(" ")[0]}` }, outcome);
