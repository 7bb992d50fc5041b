// Functions that make_continuity.mjs runs in the page. Each function is sent as text, so it may refer only to
// `globalThis.tools`, which `importLibrary` sets.

export async function importLibrary() {
  const library = await import('/dist/index.js');
  const search = await import('/dist/search.js');

  /** Encodes bytes as base64. */
  const base64 = (data) => {
    const bytes =
      data instanceof ArrayBuffer
        ? new Uint8Array(data)
        : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    let text = '';
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
  };

  /** Converts a value of IndexedDB to JSON. Types that JSON lacks become objects with a field `$`. */
  const plain = (value) => {
    if (value === undefined) return { $: 'undefined' };
    if (value instanceof ArrayBuffer) return { $: 'ArrayBuffer', base64: base64(value) };
    if (Array.isArray(value)) return value.map(plain);
    if (typeof value === 'object' && value !== null) {
      if (Object.getPrototypeOf(value) !== Object.prototype) throw new Error(`cannot record ${value}`);
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
    }
    return value;
  };

  /** Reads the stored folders of files, from the origin private file system or from the Cache API. */
  const foldersOf = async (root, kind) => {
    const folders = {};
    if (kind === 'opfs') {
      const directory = await (await navigator.storage.getDirectory()).getDirectoryHandle(root);
      for await (const [key, folder] of directory.entries()) {
        folders[key] = [];
        for await (const [name, handle] of folder.entries())
          folders[key].push([name, base64(await (await handle.getFile()).arrayBuffer())]);
      }
    } else {
      const cache = await caches.open(root);
      for (const request of await cache.keys()) {
        const [, key, name] = /^https:\/\/dinov2-webgpu\.invalid\/([^/]+)\/([^/]+)$/.exec(request.url);
        (folders[key] ??= []).push([name, base64(await (await cache.match(request)).arrayBuffer())]);
      }
    }
    for (const files of Object.values(folders)) files.sort(([a], [b]) => (a < b ? -1 : 1));
    return folders;
  };

  const request = (asked) =>
    new Promise((resolve, reject) => {
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(asked.error);
    });

  /** Reads all rows of an IndexedDB database. */
  const databaseOf = async (name) => {
    const db = await request(indexedDB.open(name));
    const stores = [];
    for (const store of db.objectStoreNames) {
      const from = db.transaction(store).objectStore(store);
      const [keys, values] = await Promise.all([request(from.getAllKeys()), request(from.getAll())]);
      const rows = values.map((value, i) => [keys[i], plain(value)]);
      stores.push({ name: store, keyPath: from.keyPath, rows });
    }
    const { version } = db;
    db.close();
    return { name, version, stores };
  };

  const tiny = (kind, options = {}) =>
    library.DINOv2.fromPretrained(`/fixtures/reference/tiny-${kind}/`, {
      cache: 'none',
      selfTest: false,
      ...options,
    });

  globalThis.tools = { library, search, base64, foldersOf, databaseOf, tiny };
}

/** Loads the checkpoint and returns the stored cache entry. Then removes the entry. */
export async function loadAndKeep(cache) {
  const { library, foldersOf } = globalThis.tools;
  const model = await library.DINOv2.fromPretrained('/weights/', { selfTest: false, cache });
  const fingerprint = await model.fingerprint();
  model.dispose();
  const [[key, files], ...others] = Object.entries(await foldersOf('dinov2-webgpu', cache));
  if (others.length > 0 || model.loaded.cache !== cache) throw new Error('expected exactly one cache entry');
  await library.removeCached();
  return { store: { key, files }, fingerprint };
}

/** Starts loading a checkpoint, and aborts the load when a segment is stored. */
export async function interruptAndKeep() {
  const { library, foldersOf } = globalThis.tools;
  const controller = new AbortController();
  const loading = library.DINOv2.fromPretrained('/weights/', {
    selfTest: false,
    cache: 'opfs',
    signal: controller.signal,
  }).catch((error) => error);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const folders = await foldersOf('dinov2-webgpu', 'opfs').catch((error) => {
      if (error.name !== 'NotFoundError') throw error;
      return {}; // the folder does not exist yet, or a swap file was renamed meanwhile
    });
    const [files] = Object.values(folders);
    if (files?.some(([name, bytes]) => name === '0' && bytes.length > 0)) break;
  }
  controller.abort(new Error('far enough'));
  if ((await loading).message !== 'far enough') throw new Error(`found ${await loading}`);
  const [[key, files]] = Object.entries(await foldersOf('dinov2-webgpu', 'opfs'));
  await library.removeCached();
  return { key, files: files.filter(([name]) => /^(plan|\d+)$/.test(name)) };
}

/** Returns the fingerprints and identities of tiny models, and the description of the preprocessing. */
export async function fingerprints() {
  const { library, search, tiny } = globalThis.tools;
  const config = {
    embedDim: 64,
    depth: 2,
    numHeads: 1,
    headDim: 64,
    patchSize: 14,
    imageSize: 56,
    numChannels: 3,
    numRegisterTokens: 4,
    ffn: 'swiglu',
    hiddenFeatures: 176,
    layerNormEps: 1e-6,
    posEmbed: 'antialias',
  };
  const synthetic = await library.DINOv2.synthetic(config, { selfTest: false });
  const options = [
    {},
    { resize: 'crop' },
    { cropSize: 448 },
    { cropSize: 448, shortestEdge: 448 },
    { resize: 'fit' },
    { resize: 'fit', longestSide: 280 },
    { resize: 'square' },
    { resize: 'square', size: 518 },
    { orientation: 'respect' },
    { pooling: 'cls+mean' },
    { id: 'facebook/dinov2-small', resize: 'fit', longestSide: 448, orientation: 'respect', pooling: 'gem' },
  ];
  const found = { config: synthetic.config, synthetic: await synthetic.fingerprint() };
  synthetic.dispose();
  for (const kind of ['plain', 'registers', 'swiglu']) {
    const model = await tiny(kind);
    found[kind] = await model.fingerprint();
    if (kind === 'plain') {
      found.identities = [];
      for (const each of options)
        found.identities.push({ options: each, identity: await search.modelIdentity(model, each) });
    }
    model.dispose();
  }
  return found;
}

/** Fits PCA bases, and draws the features with the bases. */
export async function fitPca() {
  const { library, base64, tiny } = globalThis.tools;
  const model = await tiny('registers');
  const [height, width] = [126, 154];
  const pixels = Float32Array.from(
    { length: 3 * height * width },
    (_, i) => 2 * Math.sin(i / 97) * Math.cos(i / 1013),
  );
  const features = await model.forward(pixels, { height, width });
  const found = { height, width, pictures: [] };
  for (const foreground of ['auto', 'none']) {
    const pca = await library.PCA.fit(features, { foreground });
    found.pictures.push({ json: pca.toJSON(), rgba: base64(await pca.rgb(features)) });
  }
  features.dispose();
  model.dispose();
  return found;
}

/** Makes three indexes. Returns their stored data, their content and their exported files. */
export async function makeIndexes() {
  const { search, base64, foldersOf, databaseOf, tiny } = globalThis.tools;
  const { EmbeddingIndex, modelIdentity, ingest } = search;
  const dim = 16;
  const vector = (seed) => Float32Array.from({ length: dim }, (_, i) => Math.sin(seed * dim + i));
  const tokens = (seed) => ({
    rows: 2,
    cols: 3,
    tokens: Float32Array.from({ length: 6 * dim }, (_, i) => Math.cos(seed + i)),
  });
  const picture = (text) => new Blob([text], { type: 'image/webp' });
  const model = await tiny('plain');

  /** Makes an index with default options and three ingested images. */
  const images = async () => {
    const index = await EmbeddingIndex.open('images', {
      dim: 128,
      device: 'cpu',
      model: await modelIdentity(model),
    });
    const files = [];
    for (const name of ['rgb.png', 'grey.png', 'palette.png']) {
      const blob = await (await fetch(`/fixtures/pixels/images/${name}`)).blob();
      files.push(new File([blob], name, { lastModified: 1_700_000_000_000 + files.length }));
    }
    const { added } = await ingest(index, model, files, { thumbnailPx: 16 }).finished;
    if (added !== 3) throw new Error(`expected 3 images, found ${added}`);
    return index;
  };

  /** Makes an index with items that have all optional data. Some items are updated or removed. */
  const extras = async () => {
    const index = await EmbeddingIndex.open('extras ä/1', {
      dim,
      metric: 'dot',
      storage: 'f32',
      patches: 'f16',
      device: 'cpu',
    });
    for (let i = 0; i < 4; i++)
      await index.add(
        `item ${i}`,
        vector(i),
        { i, tags: ['a', '\u00e4'] },
        { patches: tokens(i), thumbnail: picture(`picture ${i}`) },
      );
    await index.addMany([
      { id: 'bare', vector: vector(10) },
      { id: 'gone', vector: vector(11) },
    ]);
    await index.update('item 1', { vector: vector(12), metadata: null });
    await index.remove('gone');
    await index.setState('place', { at: 7, names: ['x'] });
    return index;
  };

  /** Makes a compacted index, stored in the Cache API as in a browser without a file system. */
  const compacted = async () => {
    const { createWritable } = FileSystemFileHandle.prototype;
    delete FileSystemFileHandle.prototype.createWritable;
    try {
      const index = await EmbeddingIndex.open('compacted', {
        dim,
        storage: 'int8',
        patches: 'int8',
        device: 'cpu',
        model: {
          id: 'facebook/dinov2-small',
          fingerprint: '0123456789abcdef'.repeat(4),
          preprocessing: 'pooling gem, resize fit',
        },
      });
      for (let i = 0; i < 6; i++)
        await index.add(`item ${i}`, vector(20 + i), { i }, { patches: tokens(20 + i) });
      await index.remove(['item 2', 'item 4']);
      await index.compact();
      return index;
    } finally {
      Object.assign(FileSystemFileHandle.prototype, { createWritable });
    }
  };

  const found = {};
  for (const [key, make, name] of [
    ['images', images, 'images'],
    ['extras', extras, 'extras ä/1'],
    ['compacted', compacted, 'compacted'],
  ]) {
    const made = await make();
    const { dim, metric, storage, patches, model: identity } = made.header;
    made.dispose();
    const index = await EmbeddingIndex.open(name, {
      dim,
      metric,
      storage,
      patches,
      device: 'cpu',
      model: identity,
    });
    const query = Array.from(index.vector(index.ids()[0]), (value, i) => value + 0.1 * Math.sin(i));
    const items = [];
    for (const id of index.ids()) {
      const thumbnail = await index.thumbnail(id);
      items.push({
        id,
        vector: base64(index.vector(id)),
        metadata: index.metadata(id),
        thumbnail: thumbnail ? { type: thumbnail.type, base64: base64(await thumbnail.arrayBuffer()) } : null,
      });
    }
    const contents = {
      header: index.header,
      items,
      query,
      hits: (await index.search(query, { topK: 10 })).map(({ id, score }) => [id, score]),
      parts:
        index.header.patches === 'none'
          ? []
          : (await index.searchByPart(tokens(1))).map(({ id, score, box }) => [id, score, box]),
    };
    const exported = base64(await (await index.export()).arrayBuffer());
    index.dispose();
    const database = await databaseOf(`dinov2-webgpu-search/${name}`);
    const { store } = database.stores.find((each) => each.name === 'header').rows[0][1];
    const [[folder, files], ...others] = Object.entries(
      await foldersOf('dinov2-webgpu-search', store),
    ).filter(([, list]) => list.length > 0);
    if (others.length > 0) throw new Error('expected exactly one index');
    found[key] = { name, contents, database, files: { store, folder, files }, exported };
    await search.deleteIndex(name);
  }
  model.dispose();
  return found;
}
