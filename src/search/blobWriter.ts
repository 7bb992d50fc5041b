/** `BlobWriter`: builds a Blob of many small pieces without keeping them in JavaScript memory. */

/** Size of the chunks from which a Blob is built. Only one chunk at a time is in JavaScript memory. */
const CHUNK_BYTES = 4 * 2 ** 20;

export class BlobWriter {
  readonly #parts: Blob[] = [];
  readonly #chunk = new Uint8Array(CHUNK_BYTES);
  #used = 0;

  add(bytes: Uint8Array<ArrayBuffer>): void {
    for (let at = 0; at < bytes.length;) {
      const piece = bytes.subarray(at, at + CHUNK_BYTES - this.#used);
      this.#chunk.set(piece, this.#used);
      this.#used += piece.length;
      at += piece.length;
      if (this.#used === CHUNK_BYTES) this.#flush();
    }
  }

  /** Returns all bytes added so far, as Blobs. */
  parts(): readonly Blob[] {
    this.#flush();
    return this.#parts;
  }

  #flush(): void {
    if (this.#used > 0) this.#parts.push(new Blob([this.#chunk.subarray(0, this.#used)]));
    this.#used = 0;
  }
}
