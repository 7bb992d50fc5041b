/** Vite configuration of the published library and of the modules that the command line uses. */
import type { BuildEnvironmentOptions, Plugin } from 'vite';

const libraryEntries = {
  index: 'src/index.ts',
  safetensors: 'src/safetensors.ts',
  worker: 'src/worker.ts',
  'worker-thread': 'src/worker/thread.ts',
  search: 'src/search.ts',
  node: 'src/node.ts',
};

/** Resolves the names under which examples/*.html import the library to its sources, for `npm start`. */
export const sources: { find: RegExp; replacement: string }[] = ['worker', 'search', ''].map((entry) => ({
  find: new RegExp(`^dinov2-webgpu${entry && `/${entry}`}$`),
  replacement: `/src/${entry || 'index'}.ts`,
}));

/**
 * Names of the files that entries and lazily loaded parts share. A module that can be used without its
 * neighbours has a file of its own, because bundlers drop and split whole files. `index.js` must only
 * re-export: if it contained a definition, bundlers would load every file that it re-exports from, even
 * lazily loaded files.
 */
const sharedChunks = [
  { name: 'errors', test: /src\/errors\.ts$/ },
  { name: 'options', test: /src\/option(Names|Object)\.ts$/ },
  {
    name: 'dinov2',
    test: /src\/(dinov2|features|gpu\/lease|graph\/graph|model\/(config|layers|normalizedPixels|parameters|vit))\.ts$/,
  },
  { name: 'classifier', test: /src\/tasks\/classifier\.ts$/ },
  { name: 'synthetic', test: /src\/weights\/synthetic\.ts$/ },
  { name: 'cache', test: /src\/cache\/(?!revalidate)/ },
  { name: 'integrity', test: /src\/(io\/integrity|numerics\/hex)\.ts$/ },
  { name: 'revalidate', test: /src\/cache\/revalidate\.ts$/ },
  { name: 'storage', test: /src\/(storage\/|platform\/storageGlobal)/ },
  { name: 'json', test: /src\/platform\/json\.ts$/ },
  {
    name: 'core', // what every model needs, apart from the engine
    test: /src\/(gpu\/(constants|device|memory|pipelines|scopes|task|throughput|wait)|io\/url|image\/(upload|preprocessing|orientation))\.ts$/,
  },
  {
    name: 'patch-similarity',
    test: /src\/tasks\/(patchSimilarity|similarityQuery|placement)\.ts$/,
  },
  { name: 'patch-map', test: /src\/tasks\/patchMap\.ts$/ },
  { name: 'segmenter-model', test: /src\/tasks\/segmenterModel\.ts$/ },
  { name: 'tracking-options', test: /src\/tasks\/trackingOptions\.ts$/ },
  { name: 'clicked-patch', test: /src\/tasks\/clickedPatch\.ts$/ },
  {
    // Apart from worker.js: files of the worker's entry that import each other must not import the entry.
    name: 'worker-page',
    test: /src\/worker\/(call|classes|connection|embedAll|handles|images|maps|packs|pca|remote|start)\.ts$/,
  },
  { name: 'worker-segmenter', test: /src\/worker\/segmenter\.ts$/ },
  { name: 'worker-tracker', test: /src\/worker\/tracker\.ts$/ },
  { name: 'correspondence-data', test: /src\/tasks\/correspondenceData\.ts$/ },
  {
    name: 'draw-map',
    test: /src\/(tasks\/(gpuPatchMap|drawMap|drawTarget)|gpu\/(renderPipelines|kernels\/(map|draw)Kernels))\.ts$|shaders\/(map_colors|draw_patches)\.wgsl$/,
  },
  {
    name: 'segmentation',
    test: /src\/(tasks\/segmentation|numerics\/logistic|gpu\/kernels\/segmentKernels)\.ts$|shaders\/segment_\w+\.wgsl$/,
  },
  {
    name: 'tracking',
    test: /src\/(tasks\/tracking|gpu\/kernels\/trackKernels)\.ts$|shaders\/propagate_labels\.wgsl$/,
  },
  {
    name: 'correspondences',
    test: /src\/(tasks\/(correspondences|nearest(Check|Patches))|weights\/testedDispatch|gpu\/kernels\/correspondenceKernels)\.ts$|shaders\/(nearest_patch|patch_directions)\.wgsl$/,
  },
  { name: 'canvas', test: /src\/tasks\/canvas\.ts$/ },
  { name: 'abort', test: /src\/platform\/(abort|pause)\.ts$/ },
  {
    name: 'kernels',
    test: /src\/gpu\/(lowering|kernels\/(kernels|maskKernels))\.ts$|shaders\/mask_patches\.wgsl$/,
  },
  { name: 'base-url', test: /src\/platform\/baseUrl\.ts$/ },
  {
    name: 'dispatch',
    test: /src\/(gpu\/(kernels\/kernel|workgroups|submits)|numerics\/hash)\.ts$|shared\/forward_size\.wgsl$/,
  },
  { name: 'eigenvectors', test: /src\/numerics\/(eigen|startVectors)\.ts$/ },
  { name: 'cosine-similarity', test: /src\/tasks\/cosineSimilarity\.ts$/ },
  { name: 'profile-result', test: /src\/gpu\/measure\/profile\.ts$/ },
  { name: 'pooling', test: /src\/tasks\/pooling\.ts$/ },
  { name: 'support', test: /src\/(support|gpu\/adapter)\.ts$/ },
  { name: 'safetensors-format', test: /src\/safetensors\/format\.ts$/ },
  { name: 'safetensors-reader', test: /src\/safetensors\/(headerScanner|reader)\.ts$/ },
  { name: 'safetensors-writer', test: /src\/safetensors\/writer\.ts$/ },
  { name: 'part', test: /src\/platform\/(part|host)\.ts$/ },
  { name: 'node-paths', test: /src\/platform\/node\.ts$/ },
  { name: 'pca-picture', test: /src\/tasks\/(resizedPicture|pcaPicture)\.ts$/ },
  {
    name: 'pca-basis',
    test: /src\/tasks\/pcaBasis\.ts$/,
  },
  {
    name: 'pca',
    test: /src\/(tasks\/(pca(Fit|Colors?\w*)?|patchMatrix|foreground)|gpu\/kernels\/pcaKernels)\.ts$|shaders\/(shared\/)?pca_\w+\.wgsl$/,
  },
];

/**
 * Build options of the library, or if `tools` is true, of the modules that the command line uses. These
 * modules become one file beside the library's files, and must overwrite none of them.
 */
export const libraryBuild = (tools: boolean): BuildEnvironmentOptions => ({
  target: 'es2023',
  sourcemap: !tools,
  emptyOutDir: !tools,
  lib: { entry: tools ? { tools: 'src/commandLine.ts' } : libraryEntries, formats: ['es'] },
  // Entries share files, so that an error class is the same class in every entry that exports it.
  rolldownOptions: {
    external: [/^node:/, 'webgpu', 'sharp'], // only dist/node.js imports them
    preserveEntrySignatures: 'allow-extension',
    output: {
      minify: 'dce-only',
      chunkFileNames: '[name].js',
      codeSplitting: !tools && { includeDependenciesRecursively: false, groups: sharedChunks },
    },
  },
});

/** The expression for a worker's URL that bundlers recognize and that also works in unbundled modules. */
const THREAD_URL = "new URL('./worker-thread.js',import.meta.url)";
/**
 * Text that stands for `THREAD_URL` until the bundle is written. Both have the same length, so that source
 * maps stay correct.
 */
const PLACEHOLDER = '__thread_url'.padEnd(THREAD_URL.length, '_');
const SOURCE_URL = "new URL('./thread.ts', import.meta.url)";

/**
 * Points the page side of the worker to the built worker file. Vite would instead bundle everything that the
 * worker imports into an additional file, a second copy of the library. Fails the build if there is no URL to
 * replace.
 */
export const threadUrl: Plugin = {
  name: 'thread-url',
  enforce: 'pre',
  transform(code, id) {
    if (!id.endsWith('/src/worker/start.ts')) return undefined;
    if (!code.includes(SOURCE_URL)) this.error(`src/worker/start.ts: ${SOURCE_URL} is missing.`);
    return { code: code.replace(SOURCE_URL, PLACEHOLDER), map: null };
  },
  generateBundle(_, bundle) {
    let replaced = 0;
    for (const chunk of Object.values(bundle)) {
      if (chunk.type !== 'chunk' || !chunk.code.includes(PLACEHOLDER)) continue;
      chunk.code = chunk.code.replaceAll(PLACEHOLDER, THREAD_URL);
      replaced += 1;
    }
    if (replaced === 0) this.error(`No file of the bundle contains ${PLACEHOLDER}.`);
  },
};

/**
 * Keeps src/node/setUp.ts in dist/node.js, although nothing imports a value from it. package.json lists only
 * the files in dist/ that have side effects, so the bundler assumes that files in src/ have none.
 */
export const nodeSetUp: Plugin = {
  name: 'node-set-up',
  transform: (code, id) =>
    id.endsWith('/src/node/setUp.ts') ? { code, map: null, moduleSideEffects: true } : undefined,
};
