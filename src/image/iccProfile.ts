/**
 * Recognizes ICC profiles that describe sRGB. Colour management leaves the colours of a file with such a
 * profile unchanged.
 */
import { latin1 } from './orientation.js';

/** XYZ of sRGB's red, green and blue, adapted to D50 as in ICC profiles. */
const SRGB_XYZ = [
  [0.43607, 0.22249, 0.01392],
  [0.38515, 0.71687, 0.09708],
  [0.14307, 0.06061, 0.7141],
] as const;
const XYZ_TOLERANCE = 0.001;
/**
 * Largest accepted difference, in units of 1/255, between a colour value and the value after it is decoded
 * with the profile's curve and encoded with sRGB's curve.
 */
const CURVE_TOLERANCE = 0.75;

/**
 * Returns true if the profile's numbers (not its name) equal sRGB's. Returns false for an unreadable profile
 * and for a profile with colour lookup tables.
 */
export function isSrgbProfile(bytes: Uint8Array): boolean {
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const text = (at: number): string => latin1(bytes.subarray(at, at + 4));
    if (text(16) !== 'RGB ' || text(20) !== 'XYZ ') return false;
    const tags = new Map<string, number>();
    for (let i = 0; i < Math.min(100, view.getUint32(128)); i++)
      tags.set(text(132 + 12 * i), view.getUint32(136 + 12 * i));
    if ([...tags.keys()].some((name) => /^(A2B|D2B|cicp)/.test(name))) return false;
    /** Returns the offset of a tag's numbers, which follow its type (4 bytes) and 4 zero bytes. */
    const contentOf = (name: string): number => (tags.get(name) ?? Infinity) + 8;
    return SRGB_XYZ.every((xyz, i) => {
      const colour = 'rgb'[i]!;
      const [point, curve] = [contentOf(`${colour}XYZ`), contentOf(`${colour}TRC`)];
      const isPoint = xyz.every((value, k) => Math.abs(fixed(view, point + 4 * k) - value) < XYZ_TOLERANCE);
      return isPoint && isSrgbCurve(curveAt(view, curve, text(curve - 8)));
    });
  } catch {
    return false; // a read past the end of `bytes` threw a RangeError
  }
}

const fixed = (view: DataView, at: number): number => view.getInt32(at) / 65536;

/**
 * Returns the function by which a profile converts stored values (0 to 1) to linear light. For a curve type
 * that sRGB never uses, the function returns NaN, so that the profile does not count as sRGB.
 */
function curveAt(view: DataView, at: number, kind: string): (value: number) => number {
  if (kind === 'curv' && view.getUint32(at) > 1) {
    const last = view.getUint32(at) - 1;
    const entry = (i: number): number => view.getUint16(at + 4 + 2 * Math.min(i, last)) / 65535;
    return (value) => {
      const i = Math.floor(value * last);
      return entry(i) + (entry(i + 1) - entry(i)) * (value * last - i);
    };
  }
  if (kind !== 'para' || view.getUint16(at) !== 3) return () => NaN;
  const [g, a, b, c, d] = [4, 8, 12, 16, 20].map((each) => fixed(view, at + each)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  return (value) => (value >= d ? (a * value + b) ** g : c * value);
}

function isSrgbCurve(curve: (value: number) => number): boolean {
  for (let stored = 0; stored < 256; stored++) {
    const light = curve(stored / 255);
    const back = 255 * (light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055);
    if (!(Math.abs(back - stored) <= CURVE_TOLERANCE)) return false;
  }
  return true;
}
