/** Makes ICC profiles from three primaries and a curve, and JPEGs with them. Runs in Node and in a browser. */

/** The sRGB primaries in XYZ, adapted to D50. */
export const SRGB = [0.43607, 0.22249, 0.01392, 0.38515, 0.71687, 0.09708, 0.14307, 0.06061, 0.7141];
export const DISPLAY_P3 = [0.51512, 0.2412, -0.00105, 0.29198, 0.69225, 0.04189, 0.1571, 0.06657, 0.78407];

export type Curve = 'sRGB' | { readonly gamma: number } | { readonly entries: number };

const inSrgb = (value: number): number =>
  value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;

/** An ICC version 4 display profile with all tags that ICC.1:2010 requires. */
export function profileOf(
  colours: readonly number[],
  curve: Curve,
  more: readonly string[] = [],
): Uint8Array<ArrayBuffer> {
  const fixed = (...values: number[]): number[] =>
    values.flatMap((value) => {
      const bits = Math.round(value * 65536) >>> 0;
      return [bits >>> 24, (bits >>> 16) & 255, (bits >>> 8) & 255, bits & 255];
    });
  const uint32 = (value: number): number[] => [
    value >>> 24,
    (value >>> 16) & 255,
    (value >>> 8) & 255,
    value & 255,
  ];
  const letters = (text: string): number[] => [...text].map((each) => each.charCodeAt(0));
  const words = (text: string): number[] => [
    ...letters('mluc'),
    ...uint32(0),
    ...uint32(1),
    ...uint32(12),
    ...letters('enUS'),
    ...uint32(2 * text.length),
    ...uint32(28),
    ...letters(text).flatMap((each) => [0, each]),
  ];
  const xyz = (...values: number[]): number[] => [...letters('XYZ '), ...uint32(0), ...fixed(...values)];
  let tone: number[];
  if (curve === 'sRGB')
    tone = [
      ...letters('para'),
      ...uint32(0),
      ...uint32(3 << 16),
      ...fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    ];
  else if ('gamma' in curve) tone = [...letters('para'), ...uint32(0), ...uint32(0), ...fixed(curve.gamma)];
  else {
    const entries = Array.from({ length: curve.entries }, (_, i) =>
      Math.round(65535 * inSrgb(i / (curve.entries - 1))),
    );
    tone = [
      ...letters('curv'),
      ...uint32(0),
      ...uint32(curve.entries),
      ...entries.flatMap((each) => [each >> 8, each & 255]),
    ];
  }
  const tags: [string, number[]][] = [
    ['desc', words('A profile')],
    ['cprt', words('CC0')],
    ['wtpt', xyz(0.9642, 1, 0.82491)],
    ['rXYZ', xyz(...colours.slice(0, 3))],
    ['gXYZ', xyz(...colours.slice(3, 6))],
    ['bXYZ', xyz(...colours.slice(6))],
    ['rTRC', tone],
    ['gTRC', tone],
    ['bTRC', tone],
    ...more.map((name): [string, number[]] => [name, uint32(0)]),
  ];
  const head = [...uint32(tags.length)];
  const content: number[] = [];
  for (const [name, bytes] of tags) {
    head.push(...letters(name), ...uint32(132 + 12 * tags.length + content.length), ...uint32(bytes.length));
    content.push(...bytes, ...Array.from({ length: -bytes.length & 3 }, () => 0));
  }
  const whole = new Uint8Array(128 + head.length + content.length);
  whole.set(uint32(whole.length));
  whole.set([4, 0x40, 0, 0], 8);
  whole.set(letters('mntrRGB XYZ '), 12);
  whole.set([7, 0xea, 0, 11, 0, 29], 24); // a date
  whole.set(letters('acsp'), 36);
  whole.set(fixed(0.9642, 1, 0.82491), 68);
  whole.set([...head, ...content], 128);
  return whole;
}

/** Replaces the ICC profile of a JPEG, split into `segments` APP2 segments. */
export function withProfile(
  jpeg: Uint8Array<ArrayBuffer>,
  profile: Uint8Array,
  segments = 1,
): Uint8Array<ArrayBuffer> {
  const view = new DataView(jpeg.buffer, jpeg.byteOffset, jpeg.byteLength);
  const parts: number[] = [0xff, 0xd8];
  const size = Math.ceil(profile.length / segments);
  for (let i = 0; i < segments; i++) {
    const part = profile.subarray(i * size, (i + 1) * size);
    const length = 2 + 12 + 2 + part.length;
    const name = [...'ICC_PROFILE\0'].map((each) => each.charCodeAt(0));
    parts.push(0xff, 0xe2, length >> 8, length & 255, ...name, i + 1, segments, ...part);
  }
  let at = 2;
  for (; view.getUint8(at + 1) !== 0xda; at += 2 + view.getUint16(at + 2))
    if (view.getUint8(at + 1) !== 0xe2) parts.push(...jpeg.subarray(at, at + 2 + view.getUint16(at + 2)));
  const whole = new Uint8Array(parts.length + jpeg.length - at);
  whole.set(parts);
  whole.set(jpeg.subarray(at), parts.length);
  return whole;
}
