// What is wrong with the page as it stands: wider than its window, texts too faint for their ground
// (WCAG 2.2 AA), and controls, tables and pictures without a name.
const faults = [];
const shown = (element) => element.checkVisibility({ visibilityProperty: true });
const root = document.scrollingElement;
if (root.scrollWidth > innerWidth) {
  const wide = [...document.querySelectorAll("body *")].filter((element) => {
    return shown(element) && !element.closest(".scroll *, svg") && element.getBoundingClientRect().right > innerWidth + 0.5;
  });
  faults.push(`${root.scrollWidth} wide of ${innerWidth}: ${wide.slice(0, 3).map((element) => element.id || element.className || element.tagName)}`);
}

const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function rgba(color) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
}
function luminance([red, green, blue]) {
  const linear = [red, green, blue].map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}
function ground(element) {
  for (let at = element; at; at = at.parentElement) {
    const color = rgba(getComputedStyle(at).backgroundColor);
    if (color[3] === 255) return color;
  }
  return [255, 255, 255, 255];
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const seen = new Set();
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || seen.has(element) || !shown(element) || element.closest("caption, option, script, noscript, :disabled")) continue;
  seen.add(element);
  const style = getComputedStyle(element);
  const pair = [rgba(style.color), ground(element)].map(luminance).sort((one, two) => two - one);
  const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
  const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  if (contrast < (isLarge ? 3 : 4.5)) faults.push(`contrast ${contrast.toFixed(2)}: ${texts.currentNode.data.slice(0, 30)}`);
}

for (const field of document.querySelectorAll("input, select, textarea")) {
  if (shown(field) && !field.labels.length) faults.push(`no label: ${field.id}`);
}
for (const control of document.querySelectorAll("button, a, progress, [role=region], dialog, nav, section, article, svg[role=img]")) {
  if (!shown(control)) continue;
  const by = control.getAttribute("aria-labelledby");
  const name = control.getAttribute("aria-label") ?? (by ? document.getElementById(by)?.textContent : control.textContent);
  if (!name?.trim()) faults.push(`no name: ${control.outerHTML.slice(0, 60)}`);
}
for (const table of document.querySelectorAll("table")) {
  if (!shown(table) || !table.tHead) continue;
  if (!table.caption?.textContent) faults.push(`no caption: ${table.id}`);
  if (table.querySelector("th:not([scope])")) faults.push(`a header without a scope: ${table.id}`);
}
if (!document.documentElement.lang) faults.push("no language");
if (document.querySelectorAll("h1").length !== 4) faults.push("each view has one title");
return faults;
