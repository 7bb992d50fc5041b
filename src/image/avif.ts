/**
 * Prepares an AVIF for the browser's decoder. The rotation and mirroring properties (`irot`, `imir`) are
 * removed, because browsers apply them; their values are returned as an Exif orientation, as in Pillow. The
 * reference to the alpha image is removed, because Firefox premultiplies the colours of every bitmap by its
 * alpha.
 */
import { damaged } from './decodeErrors.js';
import { latin1 } from './orientation.js';

/** An AVIF without rotation, mirroring and alpha. */
export interface PlainAvif {
  /** The file for the browser's decoder, in consecutive pieces. */
  readonly pieces: Uint8Array<ArrayBuffer>[];
  /** Exif orientation, 1 to 8. */
  readonly orientation: number;
}

/**
 * A box (a block of data with a size and a type) of an ISO media file. `at`, `begin` and `end` are the
 * offsets of the box's first byte, of its content and of its end.
 */
interface Box {
  readonly kind: string;
  readonly at: number;
  readonly begin: number;
  readonly end: number;
}

/**
 * Prepares an AVIF for the browser's decoder. Edits `bytes` in place. A box of unknown form is not changed: the
 * browser's decoder handles it.
 * @throws ImageError IMAGE_DECODE, if a box ends before its content
 */
export function plainAvif(bytes: Uint8Array<ArrayBuffer>, name: string): PlainAvif {
  try {
    return withoutTurns(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw damaged(name, 'AVIF', 'a box that ends before its content'); // a read past the end of the file
  }
}

function withoutTurns(bytes: Uint8Array<ArrayBuffer>): PlainAvif {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const all = boxesIn(view, 0, bytes.length);
  const meta = all.find(({ kind }) => kind === 'meta');
  if (!meta) return { pieces: [bytes], orientation: 1 };
  const metaBoxes = boxesIn(view, meta.begin + 4, meta.end);
  const metaBox = (kind: string): Box | undefined => metaBoxes.find((box) => box.kind === kind);
  const pitm = metaBox('pitm');
  const primary =
    pitm && (bytes[pitm.begin] === 0 ? view.getUint16(pitm.begin + 4) : view.getUint32(pitm.begin + 4));
  const properties = metaBox('iprp');
  const orientation = properties ? detachProperties(view, properties, primary) : 1;
  const references = metaBox('iref');
  if (references) {
    const kinds = boxesIn(view, references.begin + 4, references.end);
    const alpha = kinds.filter(({ kind }) => kind === 'auxl');
    // A `prem` reference marks premultiplied colours. The decoder needs the alpha image to undo the
    // premultiplication, so the alpha image is then kept.
    if (alpha.length > 0 && !kinds.some(({ kind }) => kind === 'prem')) {
      for (const { at } of alpha) bytes[at + 4] = 0x58; // 'Xuxl', a type that decoders ignore
      // Turns an animated AVIF into a still image: replaces the brands (format names in the first box) that
      // mark animations, and hides the tracks. A decoder then shows the primary image, which is the first
      // frame.
      const [brand, movie] = [all[0]!, all.find(({ kind }) => kind === 'moov')];
      if (movie && brand.kind === 'ftyp' && latin1(bytes.subarray(8, 12)) === 'avis') {
        for (let at = brand.begin; at + 4 <= brand.end; at += 4) {
          const name = latin1(bytes.subarray(at, at + 4));
          if (name === 'avis') bytes[at + 3] = 0x66; // changes 'avis' to 'avif'
          if (name === 'msf1') bytes[at + 1] = 0x69; // changes 'msf1' to 'mif1'
        }
        bytes.set([0x66, 0x72, 0x65, 0x65], movie.at + 4); // 'free', a type that decoders ignore
      }
    }
  }
  return { pieces: [bytes], orientation };
}

/** Type of a `colr` box that names colour space and matrix by numbers. */
const NCLX = 0x6e636c78;

/** Most boxes that are read. Files have fewer than a hundred in one place. */
const MOST_BOXES = 4096;

function boxesIn(view: DataView, from: number, to: number): Box[] {
  const boxes: Box[] = [];
  for (let at = from; at + 8 <= to && boxes.length < MOST_BOXES;) {
    let [size, begin] = [view.getUint32(at), at + 8];
    if (size === 1 && at + 16 <= to) [size, begin] = [Number(view.getBigUint64(at + 8)), at + 16];
    const end = size === 0 ? to : at + size;
    if (end < begin || end > to) break;
    boxes.push({ kind: latin1(new Uint8Array(view.buffer, view.byteOffset + at + 4, 4)), at, begin, end });
    at = end;
  }
  return boxes;
}

/**
 * Detaches the rotation and mirroring properties (`irot`, `imir`) and colour profiles from every item of an AVIF.
 * Returns the Exif orientation that stands for the rotation and mirroring of the primary item.
 */
function detachProperties(view: DataView, properties: Box, primary: number | undefined): number {
  const propertyBoxes = boxesIn(view, properties.begin, properties.end);
  const container = propertyBoxes.find(({ kind }) => kind === 'ipco');
  if (!container) return 1;
  const known = boxesIn(view, container.begin, container.end);
  // A colour profile (the types prof and rICC). Safari converts the colours of an image with one.
  const isProfile = ({ kind, begin }: Box): boolean => kind === 'colr' && view.getUint32(begin) !== NCLX;
  let [angle, axis]: [number, number | undefined] = [0, undefined];
  for (const { begin, end } of propertyBoxes.filter(({ kind }) => kind === 'ipma')) {
    const [wideItems, wideIndices] = [view.getUint8(begin) > 0, (view.getUint8(begin + 3) & 1) === 1];
    let at = begin + 8;
    for (let items = view.getUint32(begin + 4); items > 0 && at + (wideItems ? 5 : 3) <= end; items--) {
      const item = wideItems ? view.getUint32(at) : view.getUint16(at);
      at += wideItems ? 4 : 2;
      for (let count = view.getUint8(at++); count > 0 && at + (wideIndices ? 2 : 1) <= end; count--) {
        const index = wideIndices ? view.getUint16(at) & 0x7fff : view.getUint8(at) & 0x7f;
        const property = known[index - 1];
        if (property && (property.kind === 'irot' || property.kind === 'imir' || isProfile(property))) {
          const value = view.getUint8(property.begin);
          if (item === primary && property.kind === 'irot') angle = value & 3;
          if (item === primary && property.kind === 'imir') axis = value & 1;
          // Index 0 means "no property".
          if (wideIndices) view.setUint16(at, 0);
          else view.setUint8(at, 0);
        }
        at += wideIndices ? 2 : 1;
      }
    }
  }
  // Exif orientation. Rows: counterclockwise rotation by 0, 90, 180, 270 degrees. Columns: no mirroring,
  // top-bottom, left-right.
  return [
    [1, 4, 2],
    [8, 5, 7],
    [3, 2, 4],
    [6, 7, 5],
  ][angle]![axis === undefined ? 0 : 1 + axis]!;
}
