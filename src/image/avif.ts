/**
 * AVIF, ahead of the browser's decoder. Its turns (`irot`, `imir`) are taken out, and told as Exif's
 * orientation, as Pillow has it: browsers turn by them and by nothing else. Its alpha is taken out, with which
 * Firefox multiplies the colours of every bitmap.
 */
import { latin1 } from './orientation.js';

export interface PlainAvif {
  readonly pieces: Uint8Array<ArrayBuffer>[];
  /** 1 to 8. */
  readonly orientation: number;
}

interface Box {
  readonly kind: string;
  /** Where the box and its content begin, and where it ends. */
  readonly at: number;
  readonly begin: number;
  readonly end: number;
}

/** Boxes of an unknown or broken form are left to the decoder. */
export function plainAvif(bytes: Uint8Array<ArrayBuffer>): PlainAvif {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const all = boxesIn(view, 0, bytes.length);
  const meta = all.find(({ kind }) => kind === 'meta');
  if (!meta) return { pieces: [bytes], orientation: 1 };
  const parts = boxesIn(view, meta.begin + 4, meta.end);
  const part = (kind: string): Box | undefined => parts.find((box) => box.kind === kind);
  const pitm = part('pitm');
  const primary =
    pitm && (bytes[pitm.begin] === 0 ? view.getUint16(pitm.begin + 4) : view.getUint32(pitm.begin + 4));
  const properties = part('iprp');
  const orientation = properties ? takeTurns(view, properties, primary) : 1;
  const references = part('iref');
  if (references) {
    const kinds = boxesIn(view, references.begin + 4, references.end);
    const alpha = kinds.filter(({ kind }) => kind === 'auxl');
    // Colours that were multiplied by the one who saved them need their alpha.
    if (alpha.length > 0 && !kinds.some(({ kind }) => kind === 'prem')) {
      for (const { at } of alpha) bytes[at + 4] = 0x58; // a name that nobody knows
      // Of an animation the picture that stands for it, which is its first frame, without the tracks.
      const [brand, movie] = [all[0]!, all.find(({ kind }) => kind === 'moov')];
      if (movie && brand.kind === 'ftyp' && latin1(bytes.subarray(8, 12)) === 'avis') {
        for (let at = brand.begin; at + 4 <= brand.end; at += 4) {
          const name = latin1(bytes.subarray(at, at + 4));
          if (name === 'avis') bytes[at + 3] = 0x66; // avif
          if (name === 'msf1') bytes[at + 1] = 0x69; // mif1
        }
        bytes.set([0x66, 0x72, 0x65, 0x65], movie.at + 4); // free
      }
    }
  }
  return { pieces: [bytes], orientation };
}

function boxesIn(view: DataView, from: number, to: number): Box[] {
  const boxes: Box[] = [];
  for (let at = from; at + 8 <= to;) {
    let [size, begin] = [view.getUint32(at), at + 8];
    if (size === 1 && at + 16 <= to) [size, begin] = [Number(view.getBigUint64(at + 8)), at + 16];
    const end = size === 0 ? to : at + size;
    if (end < begin || end > to) break;
    boxes.push({ kind: latin1(new Uint8Array(view.buffer, view.byteOffset + at + 4, 4)), at, begin, end });
    at = end;
  }
  return boxes;
}

/** Cuts the turns off from all pictures in the file, and gives the orientation of the first. */
function takeTurns(view: DataView, properties: Box, primary: number | undefined): number {
  const parts = boxesIn(view, properties.begin, properties.end);
  const container = parts.find(({ kind }) => kind === 'ipco');
  if (!container) return 1;
  const known = boxesIn(view, container.begin, container.end);
  let [angle, axis]: [number, number | undefined] = [0, undefined];
  for (const { begin, end } of parts.filter(({ kind }) => kind === 'ipma')) {
    const [wideItems, wideIndices] = [view.getUint8(begin) > 0, (view.getUint8(begin + 3) & 1) === 1];
    let at = begin + 8;
    for (let items = view.getUint32(begin + 4); items > 0 && at + (wideItems ? 5 : 3) <= end; items--) {
      const item = wideItems ? view.getUint32(at) : view.getUint16(at);
      at += wideItems ? 4 : 2;
      for (let count = view.getUint8(at++); count > 0 && at + (wideIndices ? 2 : 1) <= end; count--) {
        const index = wideIndices ? view.getUint16(at) & 0x7fff : view.getUint8(at) & 0x7f;
        const property = known[index - 1];
        if (property?.kind === 'irot' || property?.kind === 'imir') {
          const value = view.getUint8(property.begin);
          if (item === primary && property.kind === 'irot') angle = value & 3;
          if (item === primary && property.kind === 'imir') axis = value & 1;
          // 0: no property.
          if (wideIndices) view.setUint16(at, 0);
          else view.setUint8(at, 0);
        }
        at += wideIndices ? 2 : 1;
      }
    }
  }
  // By quarters of a turn to the left: without a mirror, with one of top and bottom, of left and right.
  return [
    [1, 4, 2],
    [8, 5, 7],
    [3, 2, 4],
    [6, 7, 5],
  ][angle]![axis === undefined ? 0 : 1 + axis]!;
}
