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

// A photo, upright, as the network wants it: letterboxed on grey 127, bytes RGB.
export async function pixels(photo, [width, height], fit) {
  const options = { width, height, kernel: "linear", fit: fit === "squash" ? "fill" : "contain" };
  const grey = { r: 127, g: 127, b: 127 };
  const data = await sharp(photo).rotate().flatten({ background: "white" }).toColourspace("srgb")
    .resize({ ...options, background: grey }).removeAlpha().raw().toBuffer();
  return new ort.Tensor("uint8", new Uint8Array(data), [1, height, width, 3]);
}

// The network's outputs, calibrated: p_all, p_none, p_some, and p_nobody where the model can tell.
export function answer(outputs, about) {
  if (!outputs.presence) {
    const raised = [...outputs.probabilities.data].map((p) => Math.max(p, 1e-30) ** (1 / about.temperature));
    const sum = raised.reduce((a, b) => a + b);
    return Object.fromEntries(["all", "none", "some"].map((label, n) => [label, raised[n] / sum]));
  }
  // logits of "a masked face is there" and "a bare face is there"
  const [masked, bare] = [0, 1].map(
    (n) => (outputs.presence.data[n] * about.presence_scale[n] + about.presence_bias[n]) / about.temperature);
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const nobody = (1 - sigmoid(masked)) * (1 - sigmoid(bare));
  const odds = { all: Math.exp(masked), none: Math.exp(bare), some: Math.exp(masked + bare) };
  const sum = odds.all + odds.none + odds.some;
  const given = Object.fromEntries(Object.entries(odds).map(([label, odd]) => [label, (odd / sum) * (1 - nobody)]));
  return { ...given, nobody };
}

const [file, ...photos] = process.argv.slice(2);
if (!photos.length) {
  console.error("node predict.mjs MODEL.onnx PHOTO...");
  process.exit(2);
}
const bytes = new Uint8Array(await readFile(file));
const about = metadata(bytes);
const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
for (const path of photos) {
  const outputs = await session.run({ pixels: await pixels(path, about.size, about.fit) });
  const p = answer(outputs, about);
  const label = Object.keys(p).reduce((best, name) => (p[name] > p[best] ? name : best));
  console.log(JSON.stringify({ path, label, ...p }));
}
