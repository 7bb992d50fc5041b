/**
 * Encodes float32 rows as a .npy file, version 1.0:
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
 */
export function encodeNpy(values: Float32Array, rows: number, columns: number): Uint8Array<ArrayBuffer> {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${columns}), }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64;
  const file = new Uint8Array(length + values.byteLength);
  file.set([0x93, ...new TextEncoder().encode('NUMPY'), 1, 0]);
  new DataView(file.buffer).setUint16(8, length - 10, true);
  file.set(new TextEncoder().encode(`${text.padEnd(length - 11)}\n`), 10);
  file.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), length);
  return file;
}

/**
 * Decodes a .npy file of little-endian float32 with two dimensions in C order.
 * @throws RangeError for any other file
 */
export function decodeNpy(file: Uint8Array<ArrayBuffer>): {
  values: Float32Array<ArrayBuffer>;
  rows: number;
  columns: number;
} {
  const magic = [0x93, ...new TextEncoder().encode('NUMPY')];
  if (file.length < 12 || magic.some((byte, i) => file[i] !== byte))
    throw new RangeError('expected a file written by numpy.save, found a different format');
  const major = file[6]!;
  if (major !== 1 && major !== 2)
    throw new RangeError(`expected version 1 or 2 of the format, found ${major}`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const begin = major === 1 ? 10 : 12;
  const end = begin + (major === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (end > file.length)
    throw new RangeError(`expected a header of ${end} bytes, found a file of ${file.length}`);
  const header = new TextDecoder().decode(file.subarray(begin, end));
  const shape = /^\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d+), (\d+)\), \} *\n$/.exec(header);
  if (!shape)
    throw new RangeError(
      `expected little-endian float32 of shape (count, dim) in rows, found ${header.trim().slice(0, 200)}`,
    );
  const [rows, columns] = [Number(shape[1]), Number(shape[2])];
  if (file.length - end !== rows * columns * 4)
    throw new RangeError(
      `expected ${rows} × ${columns} × 4 = ${rows * columns * 4} bytes after the header, found ${file.length - end}`,
    );
  return { values: new Float32Array(file.slice(end).buffer), rows, columns };
}
