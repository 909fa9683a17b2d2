// Does everyone in these photos wear a mask? In JavaScript, from the .onnx file alone:
//   npm install && node predict.mjs MODEL.onnx PHOTO...
// onnxruntime-web is what runs in a browser, too; there a canvas takes the place of sharp.
import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-web";
import sharp from "sharp";

// What the file says about itself (ModelProto.metadata_props, field 14: pairs of key, field 1, and value, field 2).
export function metadata(bytes) {
  const text = new TextDecoder();
  function* fields(from, to) {
    let at = from;
    const varint = () => {
      let value = 0;
      for (let scale = 1; ; scale *= 128) {
        const byte = bytes[at++];
        value += (byte & 127) * scale;
        if (byte < 128) return value;
      }
    };
    while (at < to) {
      const key = varint();
      const kind = key % 8;
      if (kind === 0) varint();
      else if (kind === 1) at += 8;
      else if (kind === 5) at += 4;
      else {
        const length = varint();
        yield { field: Math.floor(key / 8), from: at, to: at + length };
        at += length;
      }
    }
  }
  const found = {};
  for (const entry of fields(0, bytes.length)) {
    if (entry.field !== 14) continue;
    const [key, value] = [...fields(entry.from, entry.to)].map((f) => text.decode(bytes.subarray(f.from, f.to)));
    found[key] = JSON.parse(value);
  }
  return found;
}

// A photo, upright, as the network wants it (RGB, letterboxed on grey 127 or stretched), and the way back to its px.
export async function fitted(path, [width, height], fit) {
  const photo = (await sharp(path).metadata()).autoOrient;
  const scale = Math.min(width / photo.width, height / photo.height);
  const scaled = (side) => Math.max(1, Math.round(side * scale));
  const [wide, high] = fit === "stretch" ? [width, height] : [scaled(photo.width), scaled(photo.height)];
  const [left, top] = [Math.floor((width - wide) / 2), Math.floor((height - high) / 2)];
  const [right, bottom] = [width - wide - left, height - high - top];
  const data = await sharp(path).rotate().flatten({ background: "white" }).toColourspace("srgb")
    .resize({ width: wide, height: high, fit: "fill", kernel: "linear" })
    .extend({ left, top, right, bottom, background: { r: 127, g: 127, b: 127 } })
    .removeAlpha().raw().toBuffer();
  return {
    pixels: new ort.Tensor("uint8", new Uint8Array(data), [1, height, width, 3]),
    x: (at) => ((at - left) * photo.width) / wide,
    y: (at) => ((at - top) * photo.height) / high,
  };
}

// The answer is in the file's outputs. `answer` has the four probabilities, `faces` 64 places of seven numbers: edges in
// px of the input, the probability that a face is there (0: none), that it wears a mask, and whether it counts.
export function answer(outputs, { x, y }) {
  const [p_all, p_none, p_some, p_nobody] = outputs.answer.data;
  const p = { all: p_all, none: p_none, some: p_some, nobody: p_nobody };
  const label = Object.keys(p).reduce((best, one) => (p[one] > p[best] ? one : best));
  const faces = [];
  for (let at = 0; at < outputs.faces.data.length; at += 7) {
    const [left, top, right, bottom, score, p_masked, counts] = outputs.faces.data.subarray(at, at + 7);
    const edges = { left: x(left), top: y(top), right: x(right), bottom: y(bottom) };
    if (score > 0) faces.push({ score, p_masked, counts: counts > 0, ...edges });
  }
  return { label, p_all, p_none, p_some, p_nobody, faces };
}

const [file, ...photos] = process.argv.slice(2);
if (!photos.length) {
  console.error("node predict.mjs MODEL.onnx PHOTO...");
  process.exit(2);
}
const bytes = new Uint8Array(await readFile(file));
const about = metadata(bytes);
const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
if (!session.outputNames.includes("answer")) {
  console.error(`${file}: finds no faces; this example is for files that do, such as the one that ships`);
  process.exit(2);
}
for (const path of photos) {
  const { pixels, ...place } = await fitted(path, about.size, about.fit);
  const outputs = await session.run({ pixels }, ["answer", "faces"]);
  console.log(JSON.stringify({ path, ...answer(outputs, place) }));
}
