// Masks as COCO writes them, drawn on a canvas.
"use strict";
const Masks = (() => {
  // Lengths of runs, background first, column by column (rleFrString of COCO's maskApi.c).
  function runsOf(text) {
    const runs = [];
    for (let place = 0; place < text.length; ) {
      let value = 0, digits = 0, code;
      do {
        code = text.charCodeAt(place++) - 48;
        value |= (code & 31) << (5 * digits++);
      } while (code & 32);
      if (code & 16) value |= -1 << (5 * digits);
      if (runs.length > 2) value += runs[runs.length - 2];
      runs.push(value);
    }
    return runs;
  }
  // 1 where one of the masks is, row by row.
  function union(texts, height, width) {
    const mask = new Uint8Array(height * width);
    for (const text of texts) {
      let place = 0;
      runsOf(text || "").forEach((length, n) => {
        if (n % 2) for (let i = place; i < place + length; i++) mask[(i % height) * width + ((i / height) | 0)] = 1;
        place += length;
      });
    }
    return mask;
  }
  const edge = (mask, height, width, i) => {
    const x = i % width, y = (i / width) | 0;
    return !x || !y || x === width - 1 || y === height - 1 || !mask[i - 1] || !mask[i + 1] || !mask[i - width] || !mask[i + width];
  };
  // Adds a mask to pixels: filled with a colour, and outlined.
  function paint(pixels, mask, height, width, [red, green, blue], opacity) {
    for (let i = 0; i < mask.length; i++) {
      if (!mask[i]) continue;
      const alpha = edge(mask, height, width, i) ? 255 : opacity;
      if (alpha) pixels.set([red, green, blue, alpha], 4 * i);
    }
  }
  return { union, paint };
})();
