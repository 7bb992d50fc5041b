import { describe, expect, it } from 'vitest';
import { f32ToF16 } from '../../src/numerics/float16.js';
import { bf16ToF32, f16ToF32, f32ToF32, f64ToF32 } from '../../src/numerics/toFloat32.js';

const all16 = Uint16Array.from({ length: 65536 }, (_, i) => i);

/** The value of an F16 by definition: (-1)^s · 2^(e - 15) · 1.f, or (-1)^s · 2^-14 · 0.f for subnormals. */
function valueOfF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** Copies bytes to an address with this remainder modulo 4. */
function bytesAt(address: number, values: ArrayBufferView): Uint8Array {
  const bytes = new Uint8Array(address + values.byteLength + 4).subarray(
    address,
    address + values.byteLength,
  );
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return bytes;
}

const bitsOf = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);
const toF16 = (...values: number[]) => {
  const out = new Uint16Array(values.length);
  f32ToF16(Float32Array.from(values), out);
  return [...out];
};

describe('f16ToF32', () => {
  it.each([0, 1, 2, 3])('is exact for all 65,536 values, at address %i', (address) => {
    const out = new Float32Array(65536);
    expect(f16ToF32(bytesAt(address, all16), out)).toBe(65536);
    const wrong = all16.filter((bits) => !Object.is(out[bits], valueOfF16(bits)));
    expect(wrong).toEqual(new Uint16Array());
  });

  it('keeps sign and payload of NaN', () => {
    const out = new Float32Array(2);
    f16ToF32(bytesAt(0, Uint16Array.of(0x7e01, 0xfc03)), out);
    expect([...bitsOf(out)]).toEqual([0x7fc02000, 0xff806000]);
  });
});

describe('bf16ToF32', () => {
  it.each([0, 1, 2, 3])('is the upper half of a float32 for all 65,536 values, at address %i', (address) => {
    const out = new Float32Array(65536);
    expect(bf16ToF32(bytesAt(address, all16), out)).toBe(65536);
    expect(bitsOf(out)).toEqual(Uint32Array.from(all16, (bits) => bits * 65536));
  });
});

describe('f32ToF32', () => {
  it.each([0, 1, 2, 3])('copies bits, at address %i', (address) => {
    const values = new Float32Array(Uint32Array.of(0x7fa00001, 0x80000000, 0x3f800000, 1).buffer);
    const out = new Float32Array(6);
    expect(f32ToF32(bytesAt(address, values), out, 1)).toBe(4);
    expect([...bitsOf(out)]).toEqual([0, 0x7fa00001, 0x80000000, 0x3f800000, 1, 0]);
  });
});

describe('conversions of pieces', () => {
  it('write at their offset in a view of a larger buffer', () => {
    const whole = new Float32Array(8);
    const out = whole.subarray(2, 6);
    f16ToF32(bytesAt(1, Uint16Array.of(0x3c00, 0xc000)), out, 1);
    bf16ToF32(bytesAt(1, Uint16Array.of(0x4040)), out, 3);
    expect([...whole]).toEqual([0, 0, 0, 1, -2, 3, 0, 0]);
  });

  it('accept empty pieces', () => {
    expect(f16ToF32(new Uint8Array(), new Float32Array(3), 3)).toBe(0);
  });

  it('reject pieces that end within a value, or do not fit', () => {
    expect(() => f16ToF32(new Uint8Array(3), new Float32Array(8))).toThrow(/multiple of 2 bytes, found 3/);
    expect(() => bf16ToF32(new Uint8Array(3), new Float32Array(8))).toThrow(RangeError);
    expect(() => f32ToF32(new Uint8Array(6), new Float32Array(8))).toThrow(/multiple of 4 bytes, found 6/);
    expect(() => f16ToF32(new Uint8Array(8), new Float32Array(4), 1)).toThrow(
      /room for 4 values from index 1, found 4/,
    );
    expect(() => f16ToF32(new Uint8Array(2), new Float32Array(4), -1)).toThrow(RangeError);
    expect(() => f32ToF16(new Float32Array(2), new Uint16Array(2), 1)).toThrow(RangeError);
  });
});

describe('f32ToF16', () => {
  it('converts every F16 back to itself, NaN to a quiet NaN', () => {
    const values = new Float32Array(65536);
    f16ToF32(bytesAt(0, all16), values);
    const out = new Uint16Array(65536);
    f32ToF16(values, out);
    const expected = all16.map((bits) => (Number.isNaN(valueOfF16(bits)) ? bits | 0x200 : bits));
    expect(out).toEqual(expected);
  });

  it('rounds to the nearest around every F16, ties to even', () => {
    // For each pair of adjacent F16 values, tests their midpoint, which is exact in float32, and the next float32 on
    // either side.
    const wrong: number[] = [];
    const value = new Float32Array(1);
    const bits = bitsOf(value);
    const nearest = () => {
      const out = new Uint16Array(1);
      f32ToF16(value, out);
      return out[0]!;
    };
    for (let low = 0; low < 0x7c00; low++) {
      const above = low === 0x7bff ? 65536 : valueOfF16(low + 1); // values round to infinity as they would to 2^16
      const even = low + (low & 1);
      value[0] = (valueOfF16(low) + above) / 2;
      const middle = bits[0]!;
      for (const [step, expected] of [
        [-1, low],
        [0, even],
        [1, low + 1],
      ] as const) {
        bits[0] = middle + step;
        if (nearest() !== expected) wrong.push(low);
        bits[0] = (middle + step) | 0x80000000;
        if (nearest() !== (expected | 0x8000)) wrong.push(low | 0x8000);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('converts the limits of the range', () => {
    expect(toF16(65504, 65519.99, 65520, 1e38, Infinity, -Infinity)).toEqual([
      0x7bff, 0x7bff, 0x7c00, 0x7c00, 0x7c00, 0xfc00,
    ]);
    expect(toF16(0, -0, 1e-45, 2 ** -25, 2 ** -24, -(2 ** -24), 2 ** -14)).toEqual([
      0, 0x8000, 0, 0, 1, 0x8001, 0x400,
    ]);
    expect(toF16(Number.NaN)).toEqual([0x7e00]);
  });
});

describe('f64ToF32', () => {
  it('rounds to the nearest, ties to even, at any address', () => {
    const values = Float64Array.of(
      1 + 2 ** -24, // a tie, rounds down to even
      1 + 3 * 2 ** -24, // a tie, rounds up to even
      1 + 2 ** -24 + 2 ** -40,
      -0,
      2 ** -150, // half of the smallest float32
      2 ** -150 + 2 ** -160,
      3.4028235e38,
      1e39,
      NaN,
    );
    const bytes = new Uint8Array(3 + values.byteLength);
    bytes.set(new Uint8Array(values.buffer), 3);
    for (const source of [new Uint8Array(values.buffer), bytes.subarray(3)]) {
      const out = new Float32Array(values.length + 1);
      expect(f64ToF32(source, out, 1)).toBe(values.length);
      expect([...out.subarray(1)]).toEqual([...values].map(Math.fround));
      expect([...out.subarray(1, 7)]).toEqual([1, 1 + 2 ** -22, 1 + 2 ** -23, -0, 0, 2 ** -149]);
    }
    expect(() => f64ToF32(new Uint8Array(12), new Float32Array(8))).toThrow(/multiple of 8 bytes, found 12/);
  });
});
