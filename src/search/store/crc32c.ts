/**
 * `crc32c`: the checksum CRC-32C (Castagnoli; RFC 3720, B.4), which LevelDB, ext4 and iSCSI also use to
 * detect damaged data. It detects every change that lies within 32 neighbouring bits, and misses about one in
 * 4·10⁹ of all other changes. It protects against faulty storage, not against attackers.
 */

/** The CRC-32C polynomial with its bits in reversed order. */
const POLYNOMIAL = 0x82f63b78;
let tables: Int32Array | undefined;

/** Makes eight tables of 256 entries, with which `crc32c` processes eight bytes at once (slicing-by-8). */
function makeTables(): Int32Array {
  const made = new Int32Array(8 * 256);
  for (let i = 0; i < 256; i++) {
    let value = i;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
    made[i] = value;
  }
  for (let i = 256; i < made.length; i++) made[i] = (made[i - 256]! >>> 8) ^ made[made[i - 256]! & 255]!;
  return made;
}

/**
 * Computes the CRC-32C of bytes.
 * @param before checksum of the preceding bytes, if the data comes in several parts
 * @returns the checksum as an unsigned 32-bit number
 */
export function crc32c(bytes: Uint8Array, before = 0): number {
  const table = (tables ??= makeTables());
  let crc = ~before;
  let i = 0;
  for (const end = bytes.length - 7; i < end; i += 8) {
    crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    crc =
      table[1792 + (crc & 255)]! ^
      table[1536 + ((crc >>> 8) & 255)]! ^
      table[1280 + ((crc >>> 16) & 255)]! ^
      table[1024 + (crc >>> 24)]! ^
      table[768 + bytes[i + 4]!]! ^
      table[512 + bytes[i + 5]!]! ^
      table[256 + bytes[i + 6]!]! ^
      table[bytes[i + 7]!]!;
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ table[(crc ^ bytes[i]!) & 255]!;
  return ~crc >>> 0;
}
