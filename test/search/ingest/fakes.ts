/**
 * A fake file system, and a fake model that computes a vector from a file's bytes, for ingest tests in Node.
 */
import { ImageError } from '../../../src/errors.js';
import { configOf } from '../../../src/model/config.js';
import type { IngestFeatures, IngestModel } from '../../../src/search/ingest/target.js';

export const DIM = 4;

export type Tree = { readonly [name: string]: Tree | string | (() => File) };

/** A file whose text stands for its pixels. */
export const file = (name: string, text: string, lastModified = 1000): File =>
  new File([text], name, { lastModified });

export class FakeFile {
  readonly kind = 'file';
  readonly name: string;
  content: () => File;
  constructor(name: string, content: () => File) {
    this.name = name;
    this.content = content;
  }
  async getFile(): Promise<File> {
    return this.content();
  }
  async isSameEntry(other: unknown): Promise<boolean> {
    return other === this;
  }
}

export class FakeFolder {
  readonly kind = 'directory';
  readonly name: string;
  readonly children: Map<string, FakeFile | FakeFolder>;
  readable = true;
  constructor(name: string, tree: Tree) {
    this.name = name;
    this.children = new Map(
      Object.entries(tree).map(([child, what]) => [
        child,
        typeof what === 'object'
          ? new FakeFolder(child, what)
          : new FakeFile(child, typeof what === 'string' ? () => file(child, what) : what),
      ]),
    );
  }
  async *entries(): AsyncGenerator<[string, FakeFile | FakeFolder]> {
    if (!this.readable) throw new DOMException('Not to be read.', 'NotAllowedError');
    yield* [...this.children].reverse(); // the API guarantees no order
  }
  async getDirectoryHandle(name: string): Promise<FakeFolder> {
    return this.#child(name, 'directory') as FakeFolder;
  }
  async getFileHandle(name: string): Promise<FakeFile> {
    return this.#child(name, 'file') as FakeFile;
  }
  async isSameEntry(other: unknown): Promise<boolean> {
    return other === this;
  }
  /** This folder with the type that the library expects. */
  get handle(): FileSystemDirectoryHandle {
    return this as object as FileSystemDirectoryHandle;
  }
  #child(name: string, kind: string): FakeFile | FakeFolder {
    const child = this.children.get(name);
    if (child?.kind !== kind) throw new DOMException(`${name} is not there.`, 'NotFoundError');
    return child;
  }
}

/** The vector of a text: 1, then the scaled character codes of its first letters. */
export const vectorOf = (text: string): number[] => [
  1,
  ...Array.from({ length: DIM - 1 }, (_, i) => (text.charCodeAt(i) || 0) / 64),
];

/**
 * A fake model. A text that begins with `broken` cannot be decoded; one that begins with `wide` has another
 * grid size.
 */
export class FakeModel implements IngestModel {
  /** Sizes of the requested batches. */
  readonly asked: number[] = [];
  /** Number of features that were not disposed of. */
  alive = 0;
  readonly config = configOf('small');
  print = 'f';
  async fingerprint(): Promise<string> {
    return this.print;
  }

  /** Awaited before a batch is computed. */
  before: (texts: readonly string[]) => Promise<void> | void = () => undefined;

  async featuresBySize(
    images: readonly Blob[],
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<{ indices: number[]; features: IngestFeatures }[]> {
    this.asked.push(images.length);
    const texts = await Promise.all(images.map((image) => image.text()));
    await this.before(texts);
    signal?.throwIfAborted();
    const broken = texts.find((text) => text.startsWith('broken'));
    if (broken !== undefined) throw new ImageError('IMAGE_DECODE', `${broken}: expected an image.`);
    const groups = [
      texts.flatMap((text, i) => (text.startsWith('wide') ? [] : [i])),
      texts.flatMap((text, i) => (text.startsWith('wide') ? [i] : [])),
    ];
    return groups
      .filter(({ length }) => length > 0)
      .map((indices) => ({ indices, features: this.#features(indices.map((i) => texts[i]!)) }));
  }

  #features(texts: readonly string[]): IngestFeatures {
    this.alive += 1;
    const [rows, cols] = texts[0]!.startsWith('wide') ? [1, 3] : [2, 2];
    const perImage = (text: string): number[] => [
      ...vectorOf(text),
      ...Array.from({ length: rows * cols }, (_, patch) => [patch + 1, 0, 0, 1]).flat(),
    ];
    return {
      batch: texts.length,
      rows,
      cols,
      embedDim: DIM,
      numTokens: 1 + rows * cols,
      numRegisterTokens: 0,
      clsToken: async () => Float32Array.from(texts.flatMap(vectorOf)),
      lastHiddenState: async () => Float32Array.from(texts.flatMap(perImage)),
      dispose: () => void (this.alive -= 1),
    };
  }
}
