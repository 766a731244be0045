"use strict";
// What all parts of the page need. Texts of a run are only ever put in as text.

// An element: its name, its properties, what is in it.
function make(name, properties = {}, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...content);
  return element;
}

function stored(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
}

// A long text is stored compressed: libraries and films.
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const DARK = matchMedia("(prefers-color-scheme: dark)");
const PRINT = matchMedia("print");
const isDark = () => DARK.matches && !PRINT.matches;

function paint() {
  return isDark()
    ? { paper: "#15171c", ink: "#ececf0", faint: "#b3b6bf", line: "#33363f", shade: "#24272f", grey: "#737885" }
    : { paper: "#ffffff", ink: "#1d1d21", faint: "#55555c", line: "#e3e3e8", shade: "#eeeef2", grey: "#a4a4ad" };
}

function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

// WCAG 2: how light a colour is, and the contrast of two.
function light(colour) {
  const [r, g, b] = rgb(colour).map((x) => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

// The colour, moved towards ink as far as it takes to be seen on paper.
function seen(colour, least) {
  const { paper, ink } = paint();
  if (!/^#[0-9a-f]{6}$/i.test(colour)) return colour;
  for (let share = 0; share <= 1; share += 0.1) {
    const mixed = rgb(colour).map((x, i) => Math.round(x + share * (rgb(ink)[i] - x)));
    const found = "#" + mixed.map((x) => x.toString(16).padStart(2, "0")).join("");
    if (contrast(found, paper) >= least) return found;
  }
  return ink;
}

// Contents are folded where there is no room beside the page.
if (innerWidth < 1100) document.querySelector(".contents").open = false;
for (const form of document.querySelectorAll("form.asked")) {
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
}
