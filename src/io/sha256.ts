/**
 * SHA-256 (FIPS 180-4) of bytes that arrive in portions. crypto.subtle can hash only bytes that are all in
 * memory.
 */
/**
 * Constants of SHA-256. `round`: the first 32 bits of the fractional parts of the cube roots of the first
 * 64 primes. `start`: the same bits of the square roots of the first 8 primes.
 */
let constants: { readonly round: Int32Array; readonly start: readonly number[] } | undefined;

function makeConstants(): { readonly round: Int32Array; readonly start: readonly number[] } {
  const primes: number[] = [];
  for (let candidate = 2; primes.length < 64; candidate++)
    if (primes.every((prime) => candidate % prime !== 0)) primes.push(candidate);
  const fraction = (value: number): number => Math.floor((value % 1) * 2 ** 32) | 0;
  return {
    round: Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime))),
    start: primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime))),
  };
}

export class Sha256 {
  readonly #words: Int32Array;
  readonly #rest = new Uint8Array(64);
  readonly #schedule = new Int32Array(64);
  readonly #round: Int32Array;
  #length = 0;

  constructor() {
    constants ??= makeConstants();
    this.#round = constants.round;
    this.#words = Int32Array.from(constants.start);
  }

  update(bytes: Uint8Array): void {
    const filled = this.#length % 64;
    this.#length += bytes.length;
    let at = 0;
    if (filled > 0) {
      at = Math.min(64 - filled, bytes.length);
      this.#rest.set(bytes.subarray(0, at), filled);
      if (filled + at < 64) return;
      this.#blocks(this.#rest, 0, 64);
    }
    const whole = at + Math.floor((bytes.length - at) / 64) * 64;
    this.#blocks(bytes, at, whole);
    this.#rest.set(bytes.subarray(whole));
  }

  /** Ends the hash, and returns its 64 hexadecimal digits. `update` must not be called afterwards. */
  digest(): string {
    const bits = this.#length * 8;
    const padding = new Uint8Array((this.#length % 64 < 56 ? 64 : 128) - (this.#length % 64));
    padding[0] = 0x80;
    const view = new DataView(padding.buffer);
    view.setUint32(padding.length - 8, Math.floor(bits / 2 ** 32));
    view.setUint32(padding.length - 4, bits >>> 0);
    this.update(padding);
    return Array.from(this.#words, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
  }

  #blocks(bytes: Uint8Array, begin: number, end: number): void {
    const w = this.#schedule;
    const k = this.#round;
    const h = this.#words;
    for (let at = begin; at < end; at += 64) {
      for (let i = 0, from = at; i < 16; i++, from += 4)
        w[i] = (bytes[from]! << 24) | (bytes[from + 1]! << 16) | (bytes[from + 2]! << 8) | bytes[from + 3]!;
      for (let i = 16; i < 64; i++) {
        const x = w[i - 15]!;
        const y = w[i - 2]!;
        const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
        const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
        w[i] = (w[i - 16]! + s0 + w[i - 7]! + s1) | 0;
      }
      let a = h[0]!,
        b = h[1]!,
        c = h[2]!,
        d = h[3]!,
        e = h[4]!,
        f = h[5]!,
        g = h[6]!,
        z = h[7]!;
      // Eight rounds at once: the eight working variables rotate by one place a round, so after eight rounds
      // each is in its own variable again, and none has to be copied (a third faster).
      for (let i = 0; i < 64; i += 8) {
        z =
          (z +
            (((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))) +
            (g ^ (e & (f ^ g))) +
            k[i]! +
            w[i]!) |
          0;
        d = (d + z) | 0;
        z =
          (z +
            (((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))) +
            ((a & b) | (c & (a | b)))) |
          0;
        g =
          (g +
            (((d >>> 6) | (d << 26)) ^ ((d >>> 11) | (d << 21)) ^ ((d >>> 25) | (d << 7))) +
            (f ^ (d & (e ^ f))) +
            k[i + 1]! +
            w[i + 1]!) |
          0;
        c = (c + g) | 0;
        g =
          (g +
            (((z >>> 2) | (z << 30)) ^ ((z >>> 13) | (z << 19)) ^ ((z >>> 22) | (z << 10))) +
            ((z & a) | (b & (z | a)))) |
          0;
        f =
          (f +
            (((c >>> 6) | (c << 26)) ^ ((c >>> 11) | (c << 21)) ^ ((c >>> 25) | (c << 7))) +
            (e ^ (c & (d ^ e))) +
            k[i + 2]! +
            w[i + 2]!) |
          0;
        b = (b + f) | 0;
        f =
          (f +
            (((g >>> 2) | (g << 30)) ^ ((g >>> 13) | (g << 19)) ^ ((g >>> 22) | (g << 10))) +
            ((g & z) | (a & (g | z)))) |
          0;
        e =
          (e +
            (((b >>> 6) | (b << 26)) ^ ((b >>> 11) | (b << 21)) ^ ((b >>> 25) | (b << 7))) +
            (d ^ (b & (c ^ d))) +
            k[i + 3]! +
            w[i + 3]!) |
          0;
        a = (a + e) | 0;
        e =
          (e +
            (((f >>> 2) | (f << 30)) ^ ((f >>> 13) | (f << 19)) ^ ((f >>> 22) | (f << 10))) +
            ((f & g) | (z & (f | g)))) |
          0;
        d =
          (d +
            (((a >>> 6) | (a << 26)) ^ ((a >>> 11) | (a << 21)) ^ ((a >>> 25) | (a << 7))) +
            (c ^ (a & (b ^ c))) +
            k[i + 4]! +
            w[i + 4]!) |
          0;
        z = (z + d) | 0;
        d =
          (d +
            (((e >>> 2) | (e << 30)) ^ ((e >>> 13) | (e << 19)) ^ ((e >>> 22) | (e << 10))) +
            ((e & f) | (g & (e | f)))) |
          0;
        c =
          (c +
            (((z >>> 6) | (z << 26)) ^ ((z >>> 11) | (z << 21)) ^ ((z >>> 25) | (z << 7))) +
            (b ^ (z & (a ^ b))) +
            k[i + 5]! +
            w[i + 5]!) |
          0;
        g = (g + c) | 0;
        c =
          (c +
            (((d >>> 2) | (d << 30)) ^ ((d >>> 13) | (d << 19)) ^ ((d >>> 22) | (d << 10))) +
            ((d & e) | (f & (d | e)))) |
          0;
        b =
          (b +
            (((g >>> 6) | (g << 26)) ^ ((g >>> 11) | (g << 21)) ^ ((g >>> 25) | (g << 7))) +
            (a ^ (g & (z ^ a))) +
            k[i + 6]! +
            w[i + 6]!) |
          0;
        f = (f + b) | 0;
        b =
          (b +
            (((c >>> 2) | (c << 30)) ^ ((c >>> 13) | (c << 19)) ^ ((c >>> 22) | (c << 10))) +
            ((c & d) | (e & (c | d)))) |
          0;
        a =
          (a +
            (((f >>> 6) | (f << 26)) ^ ((f >>> 11) | (f << 21)) ^ ((f >>> 25) | (f << 7))) +
            (z ^ (f & (g ^ z))) +
            k[i + 7]! +
            w[i + 7]!) |
          0;
        e = (e + a) | 0;
        a =
          (a +
            (((b >>> 2) | (b << 30)) ^ ((b >>> 13) | (b << 19)) ^ ((b >>> 22) | (b << 10))) +
            ((b & c) | (d & (b | c)))) |
          0;
      }
      h[0]! += a;
      h[1]! += b;
      h[2]! += c;
      h[3]! += d;
      h[4]! += e;
      h[5]! += f;
      h[6]! += g;
      h[7]! += z;
    }
  }
}

/** Returns the SHA-256 of `bytes`, in hexadecimal digits. */
export function sha256(bytes: Uint8Array): string {
  const hash = new Sha256();
  hash.update(bytes);
  return hash.digest();
}
