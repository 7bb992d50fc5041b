/** PNG's CRC-32 (ISO 3309). */

let table: Uint32Array | undefined;

/** Computes the CRC-32 of bytes. `from` is the CRC of the preceding bytes. */
export function crcOf(bytes: Uint8Array, from = 0): number {
  table ??= Uint32Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });
  let crc = ~from;
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]!) & 255]! ^ (crc >>> 8);
  return ~crc >>> 0;
}
