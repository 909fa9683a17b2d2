// What can be saved: pictures with the answer drawn on, and many of them as one ZIP.

const COLOURS = { masked: "#009e73", bare: "#d55e00", uncounted: "#70767d" };
const MOST_PIXELS = 16e6; // of a canvas on phones

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const facesInOrder = (row) => [...row.faces || []].sort((a, b) => a.counts - b.counts || a.score - b.score); // the surest on top

// A JPEG: the photo with its faces, and the text below it. Fails where this browser can't decode or draw it.
export async function annotated(picture, row, text, described) {
  const photo = await createImageBitmap(picture);
  const [wide, high] = [photo.width, photo.height];
  const resize = Math.min(Math.sqrt(MOST_PIXELS / (wide * high)), Math.max(1, Math.min(2, 800 / Math.max(wide, high))));
  const [width, height] = [Math.round(wide * resize), Math.round(high * resize)];
  const letters = Math.max(12, Math.round(Math.max(width, height) / 50));
  const line = Math.max(2, letters / 6);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height + 2 * letters];
  const pen = canvas.getContext("2d");
  pen.drawImage(photo, 0, 0, width, height);
  photo.close();
  pen.font = `${letters}px sans-serif`;
  pen.textBaseline = "middle";
  const scale = width / row.width;
  const faces = facesInOrder(row);
  const colourOf = (face) => COLOURS[face.counts ? face.wear : "uncounted"];
  for (const face of faces) {
    const box = [face.left, face.top, face.right - face.left, face.bottom - face.top].map((edge) => edge * scale);
    const colour = colourOf(face);
    const dashes = !face.counts ? [line, line] : face.wear === "bare" ? [4 * line, 2 * line] : [];
    for (const [style, wide, dashed] of [["#ffffff8c", 2 * line, []], [colour, line, dashes]]) {
      pen.strokeStyle = style;
      pen.lineWidth = wide;
      pen.setLineDash(dashed);
      pen.strokeRect(...box);
    }
  }
  const labels = [];
  for (const face of faces.reverse()) { // where labels would lie over each other, the surest face has one
    const words = described(face);
    const label = { width: pen.measureText(words).width + letters, top: Math.max(0, face.top * scale - 1.6 * letters) };
    label.left = Math.max(0, Math.min(face.left * scale - line / 2, width - label.width));
    if (labels.some((other) => Math.abs(other.top - label.top) < 1.4 * letters
      && label.left < other.left + other.width && other.left < label.left + label.width)) continue;
    labels.push(label);
    pen.fillStyle = colourOf(face);
    pen.fillRect(label.left, label.top, label.width, 1.4 * letters);
    pen.fillStyle = "#fff";
    pen.fillText(words, label.left + letters / 2, label.top + 0.75 * letters);
  }
  pen.fillStyle = "#fff";
  pen.fillRect(0, height, width, 2 * letters);
  pen.fillStyle = "#1d2126";
  pen.fillText(text, letters / 2, height + letters, width - letters);
  const blob = await new Promise((made) => canvas.toBlob(made, "image/jpeg", 0.9));
  if (!blob) throw new Error("not drawn");
  return blob;
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let crc = n;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// Numbers as little-endian bytes: [number, bytes], ...
function packed(...numbers) {
  return Uint8Array.from(numbers.flatMap(([number, bytes]) => Array.from({ length: bytes }, (_, n) => number >>> (8 * n))));
}

// A ZIP of files that are stored as they are (JPEGs don't shrink); no ZIP64, so below 4 GB and 65,536 files.
export class Zip {
  size = 0;
  count = 0;
  #parts = [];
  #directory = [];

  async add(name, blob) {
    const called = new TextEncoder().encode(name);
    const now = new Date();
    const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
    const day = ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate();
    const crc = crc32(new Uint8Array(await blob.arrayBuffer()));
    // version 2.0, name in UTF-8, stored, time, day, CRC, size twice, lengths of the name and of what else there is
    const head = packed([20, 2], [0x800, 2], [0, 2], [time, 2], [day, 2], [crc, 4], [blob.size, 4], [blob.size, 4], [called.length, 2], [0, 2]);
    this.#directory.push(packed([0x02014b50, 4], [20, 2]), head, packed([0, 6], [0, 4], [this.size, 4]), called);
    this.#parts.push(packed([0x04034b50, 4]), head, called, blob);
    this.size += 4 + head.length + called.length + blob.size;
    this.count += 1;
  }

  get blob() {
    const directory = new Blob(this.#directory);
    const end = packed([0x06054b50, 4], [0, 4], [this.count, 2], [this.count, 2], [directory.size, 4], [this.size, 4], [0, 2]);
    return new Blob([...this.#parts, directory, end], { type: "application/zip" });
  }
}
