/**
 * A model's packed weights in the browser's storage, written while they arrive and whole only at the end:
 *
 *     plan seal, JSON: what was asked for, config.json, preprocessor_config.json, the files that it came from with their versions and
 *     headers 0, 1, 2 … segments, about a megabyte each: packed bytes in the order in which they were made,
 *     and how far the source was used by then complete seal alone; without it the entry is one that was
 *     interrupted, to go on from its last segment
 *
 *     segment seal, bytes of the payload (u32), payload, JSON: { records: [name, offset, length][], place,
 *     sample } seal SHA-256 of the seal before it (zeros before the plan) and of the SHA-256 of what follows
 *     it: 32 bytes. So no file can be
 *                 changed, left out, put elsewhere or come from another entry, and `complete` stands for all
 *                 that was written
 */
import type { HeadShape, LinearHead } from '../weights/head.js';
import type { CacheFolder } from '../storage/store.js';
import { MatrixSample, type SampleState } from '../weights/matrixSample.js';
import type { TensorInfo } from '../safetensors.js';
import type { Place, RemoteVersion } from '../safetensors/tensorStream.js';
import type { Recorder } from '../weights/weights.js';

/** Of the layout above and of what is packed how (packing.ts). Entries of another format are not read. */
export const CACHE_FORMAT = 4;

export interface CachePlan {
  readonly format: number;
  /** As `fromPretrained` was told: an id of the hub, or the URL of a folder. */
  readonly id: string;
  /** The URL of the folder. */
  readonly folder: string;
  readonly dtype: string;
  /** The text of config.json; null: the checkpoint has none. */
  readonly config: string | null;
  /** The text of preprocessor_config.json; null: the checkpoint has none. */
  readonly preprocessor: string | null;
  readonly files: readonly RemoteVersion[];
  /** What was checked, by file name: SHA-256 in hexadecimal digits. */
  readonly integrity: Readonly<Record<string, string>>;
  /** Parameters that the checkpoint has. */
  readonly present: readonly string[];
  readonly head: HeadShape | undefined;
  /** Of the weights, of the head's numbers, and of the scales of an int8 checkpoint. */
  readonly packedBytes: number;
}

interface Segment {
  readonly records: readonly (readonly [name: string, offset: number, length: number])[];
  readonly place: Place | undefined;
  /** Of the matrices, up to the place. */
  readonly sample: SampleState;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** A plan with its seal, which the first segment goes on from. */
export interface SealedPlan {
  readonly plan: CachePlan;
  readonly seal: Bytes;
}

/**
 * Where an entry goes on: its segments so far, the bytes of weights and head in them, what was seen of the
 * matrices, and the seal of the last.
 */
export interface EntryEnd {
  readonly segments: number;
  readonly packedBytes: number;
  readonly sample: SampleState;
  readonly seal: Bytes;
}

const DIGEST_BYTES = 32;
const PREFIX_BYTES = DIGEST_BYTES + 4;
/**
 * A segment leaves when this much of the source was used and the one before is written: that much is fetched
 * again after a crash.
 */
const SEGMENT_SOURCE_BYTES = 2 ** 20;
/** Where writing is slower than the network, segments grow up to this, and then the network waits. */
const SEGMENT_BYTES = 2 ** 22;

/** For what makes a segment longer than that: its last panel, its list of records. */
const ROOM_BYTES = 2 ** 20;

const digest = async (bytes: Bytes | ArrayBuffer): Promise<Bytes> =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
const toBytes = (value: unknown): Bytes => new TextEncoder().encode(JSON.stringify(value, replace));
const fromBytes = (bytes: Bytes): string => new TextDecoder().decode(bytes);

/** @param hash SHA-256 of what follows the seal */
const sealOf = async (before: Bytes, hash: Promise<Bytes>): Promise<Bytes> =>
  digest(await new Blob([before, await hash]).arrayBuffer());

/**
 * A file with its seal, if it is what was written after the one that has the seal `before`. What cannot be
 * read is not there.
 */
async function readSealed(folder: CacheFolder, name: string, before: Bytes): Promise<Bytes | undefined> {
  try {
    const blob = await folder.read(name);
    if (!blob) return undefined;
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const seal = await sealOf(before, digest(bytes.subarray(DIGEST_BYTES)));
    return seal.every((byte, i) => byte === bytes[i]) ? bytes : undefined;
  } catch {
    return undefined;
  }
}

async function writeSealed(folder: CacheFolder, name: string, before: Bytes, rest: Bytes): Promise<Bytes> {
  const seal = await sealOf(before, digest(rest));
  await folder.write(name, new Blob([seal, rest]));
  return seal;
}

/** What an entry begins with, behind its plan. */
export const NOTHING: Omit<EntryEnd, 'seal'> = { segments: 0, packedBytes: 0, sample: [0, 0] };

/** Before the plan. */
const NO_SEAL = new Uint8Array(DIGEST_BYTES);
/** How much of the source, all files counted, lies before a place. */
export const placeBytes = (plan: CachePlan, { file, position }: Place): number =>
  plan.files.slice(0, file).reduce((sum, { fileBytes }) => sum + fileBytes, position);

/** A folder's name: what is asked for, in what element type, in this format. */
export async function cacheKey(folder: string, dtype: string): Promise<string> {
  const hash = await digest(toBytes([folder, dtype]));
  return `v${CACHE_FORMAT}-${Array.from(hash.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/**
 * What is known of an entry without reading its weights; undefined if there is none that is whole, or of
 * another format. `complete`: as it seems.
 */
export async function readPlan(
  folder: CacheFolder,
): Promise<(SealedPlan & { complete: boolean }) | undefined> {
  const bytes = await readSealed(folder, 'plan', NO_SEAL);
  if (!bytes) return undefined;
  const plan = JSON.parse(fromBytes(bytes.subarray(DIGEST_BYTES)), revive) as CachePlan;
  if (plan.format !== CACHE_FORMAT) return undefined;
  const complete = await folder.read('complete').catch(() => undefined); // `replay` checks it
  return { plan, complete: !!complete, seal: bytes.slice(0, DIGEST_BYTES) };
}

/** Begins an entry anew. Resolves to the plan's seal. */
export async function writePlan(folder: CacheFolder, plan: CachePlan): Promise<Bytes> {
  await tidy(folder, -1);
  return writeSealed(folder, 'plan', NO_SEAL, toBytes(plan));
}

// Maps as pairs: names come from files, and may be `__proto__`.
const replace = (_: string, value: unknown): unknown =>
  value instanceof Map ? { pairs: [...(value as Map<string, unknown>)] } : value;
const revive = (key: string, value: unknown): unknown =>
  key === 'tensors' || key === 'metadata'
    ? new Map((value as { pairs: [string, TensorInfo | string][] }).pairs)
    : value;

/** What an entry held, up to `place`. */
export interface Replayed extends EntryEnd {
  /** Undefined where nothing was usable. */
  readonly place: Place | undefined;
  readonly complete: boolean;
}

/**
 * Gives back what was written, segment by segment, each checked first; at the first that is missing or
 * damaged it stops.
 * @param onSegment how far the source had been used
 */
export async function replay(
  folder: CacheFolder,
  { plan, seal }: SealedPlan,
  write: (name: string, offset: number, bytes: Bytes) => void,
  onSegment: (sourceBytes: number) => void,
  signal: AbortSignal | undefined,
): Promise<Replayed> {
  let end: EntryEnd = { ...NOTHING, seal };
  let found: Omit<Replayed, 'complete'> = { ...end, place: undefined };
  let next = readSegment(folder, end);
  for (let segment; (segment = await next);) {
    signal?.throwIfAborted();
    end = segment.end;
    next = readSegment(folder, end); // while this one goes to the GPU
    let at = PREFIX_BYTES;
    for (const [name, offset, length] of segment.records) {
      write(name, offset, segment.bytes.subarray(at, at + length));
      at += length;
    }
    if (segment.place) {
      found = { ...end, place: segment.place };
      onSegment(placeBytes(plan, segment.place));
    }
  }
  return {
    ...found,
    complete:
      end.packedBytes === plan.packedBytes && (await readSealed(folder, 'complete', end.seal)) !== undefined,
  };
}

/**
 * Removes what no entry with so many segments has: swap files of a writer that was killed, and segments that
 * are not whole. -1: the plan too.
 */
export async function tidy(folder: CacheFolder, segments: number): Promise<void> {
  for (const name of await folder.names())
    if (!(name === 'plan' ? segments >= 0 : /^\d+$/.test(name) && Number(name) < segments))
      await folder.remove(name);
}

async function readSegment(
  folder: CacheFolder,
  { segments, packedBytes, seal }: Omit<EntryEnd, 'sample'>,
): Promise<(Segment & { bytes: Bytes; end: EntryEnd }) | undefined> {
  const bytes = await readSealed(folder, String(segments), seal);
  if (!bytes) return undefined;
  const payload = new DataView(bytes.buffer).getUint32(DIGEST_BYTES, true);
  const segment = JSON.parse(fromBytes(bytes.subarray(PREFIX_BYTES + payload))) as Segment;
  return {
    ...segment,
    bytes,
    end: {
      segments: segments + 1,
      packedBytes: packedBytes + payload,
      sample: segment.sample,
      seal: bytes.slice(0, DIGEST_BYTES),
    },
  };
}

/** Writes an entry's segments while a model loads. Its failures are told, and stop no load. */
export class CacheWriter implements Recorder {
  readonly kind: 'opfs' | 'cache-api';
  /** Nothing is resumable while this holds: a part of what was read is elsewhere still. */
  hold = false;
  /** What went wrong, once something has: nothing is written from then on. */
  failure: unknown;
  /** Of the matrices that were read: whoever reads them adds to it. */
  readonly sample: MatrixSample;
  #buffer = new Uint8Array(SEGMENT_BYTES + ROOM_BYTES);
  #length = PREFIX_BYTES;
  #records: (readonly [string, number, number])[] = [];
  readonly #end: { -readonly [key in keyof EntryEnd]: EntryEnd[key] };
  #used: number;
  #writing: Promise<void> | undefined;
  readonly #folder: CacheFolder;
  readonly #plan: CachePlan;
  readonly #place: () => Place;

  constructor(
    kind: CacheWriter['kind'],
    folder: CacheFolder,
    plan: CachePlan,
    place: () => Place,
    end: EntryEnd,
  ) {
    this.kind = kind;
    this.#folder = folder;
    this.#plan = plan;
    this.#place = place;
    this.#end = { ...end };
    this.sample = new MatrixSample(end.sample);
    this.#used = placeBytes(plan, place());
  }

  write(name: string, offset: number, bytes: Uint8Array): void {
    if (this.failure !== undefined) return;
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
    this.#end.packedBytes += bytes.length;
    this.#records.push([name, offset, bytes.length]);
  }

  mark(resumable: boolean): Promise<void> | undefined {
    if (this.failure !== undefined) return undefined;
    const place = this.#place();
    const used = placeBytes(this.#plan, place);
    const full = this.#length >= SEGMENT_BYTES;
    if (!full && (used - this.#used < SEGMENT_SOURCE_BYTES || this.#writing)) return undefined;
    const canResume = resumable && !this.hold;
    if (!canResume && this.#length < 2 * SEGMENT_BYTES) return undefined; // soon there may be a better moment
    const before = this.#writing;
    this.#used = used;
    this.#flush(canResume ? place : undefined);
    return before;
  }

  /** Writes what is left, and commits. Where something has failed, nothing of the entry stays. */
  async finish(): Promise<void> {
    if (this.failure === undefined) this.#flush(this.#place());
    await this.#writing;
    const { packedBytes: wanted } = this.#plan;
    const { packedBytes: found } = this.#end;
    if (found !== wanted) this.failure ??= new Error(`expected ${wanted} bytes, found ${found}`);
    try {
      if (this.failure === undefined)
        await writeSealed(this.#folder, 'complete', this.#end.seal, new Uint8Array());
      else await tidy(this.#folder, -1);
    } catch (error) {
      this.failure ??= error;
    }
  }

  /** Writes no more. What was written stays, to be gone on from. */
  async stop(): Promise<void> {
    this.failure ??= new Error('given up');
    await this.#writing;
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = new Uint8Array(this.#length + bytes + ROOM_BYTES);
    larger.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = larger;
  }

  #flush(place: Place | undefined): void {
    const segment: Segment = { records: this.#records, place, sample: this.sample.state };
    const json = toBytes(segment);
    const end = this.#length;
    this.#reserve(json.length);
    this.#buffer.set(json, end);
    new DataView(this.#buffer.buffer).setUint32(DIGEST_BYTES, end - PREFIX_BYTES, true);
    // Both take a copy before they return: the buffer is filled again meanwhile.
    const rest = this.#buffer.subarray(DIGEST_BYTES, end + json.length);
    const hashing = digest(rest);
    const body = new Blob([rest]);
    this.#length = PREFIX_BYTES;
    this.#records = [];
    const name = String(this.#end.segments++);
    const write = async (): Promise<void> => {
      if (this.failure !== undefined) return;
      this.#end.seal = await sealOf(this.#end.seal, hashing);
      await this.#folder.write(name, new Blob([this.#end.seal, body]));
    };
    const writing = (this.#writing ?? Promise.resolve())
      .then(write)
      .catch((error: unknown) => void (this.failure ??= error));
    this.#writing = writing;
    void writing.then(() => {
      if (this.#writing === writing) this.#writing = undefined;
    });
  }
}

/** A classifier's numbers, as records beside the weights. */
export const headRecords = { weight: 'head.weight', bias: 'head.bias' } as const;

/** Room for the head of a plan, and whether it has been filled. */
export class CachedHead {
  head: LinearHead | undefined;
  readonly #room: LinearHead | undefined;
  #missing: number;

  constructor({ head }: CachePlan) {
    this.#room = head && {
      ...head,
      weight: new Float32Array(head.numClasses * head.inFeatures),
      bias: new Float32Array(head.numClasses),
    };
    this.#missing = head ? 2 : 0;
  }

  /** False if it is no record of a head. */
  write(name: string, bytes: Uint8Array): boolean {
    const target =
      name === headRecords.weight
        ? this.#room?.weight
        : name === headRecords.bias
          ? this.#room?.bias
          : undefined;
    if (!target) return false;
    new Uint8Array(target.buffer).set(bytes);
    this.#missing -= 1;
    if (this.#missing === 0) this.head = this.#room;
    return true;
  }
}
