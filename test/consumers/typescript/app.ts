// What most applications use: no member of a GPU object.
import { DINOv2, PCA, PatchSimilarity, patchAt, type PretrainedOptions } from 'dinov2-webgpu';
import {
  DINOv2 as NodeDINOv2,
  EmbeddingIndex as NodeIndex,
  imageFiles,
  ingest as ingestFolder,
  modelIdentity as identityInNode,
} from 'dinov2-webgpu/node';
import { parseSafetensors } from 'dinov2-webgpu/safetensors';
import { EmbeddingIndex, ingest, modelIdentity, type Hit } from 'dinov2-webgpu/search';
import { DINOv2 as WorkerDINOv2 } from 'dinov2-webgpu/worker';
import 'dinov2-webgpu/worker-thread';

export async function colours(file: File, canvas: HTMLCanvasElement, signal: AbortSignal): Promise<number> {
  const options: PretrainedOptions = { dtype: 'auto', signal };
  const model = await DINOv2.fromPretrained('facebook/dinov2-small', options);
  const features = await model.features(file, { resize: 'fit', longestSide: 518 });
  await (await PCA.fit(features)).draw(features, canvas);
  const similarity = await PatchSimilarity.read(features);
  const patch = patchAt(features, { x: 1, y: 1 });
  const scores: Float32Array | undefined = patch && similarity.map(patch).values;
  features.dispose();
  return scores?.length ?? 0;
}

export async function search(files: FileList, query: File): Promise<readonly Hit[]> {
  const model = await WorkerDINOv2.fromPretrained('facebook/dinov2-small', { worker: 'own' });
  const index = await EmbeddingIndex.open('photos', {
    dim: model.config.embedDim,
    model: await modelIdentity(model),
  });
  await ingest(index, model, files).finished;
  const vector: Float32Array = await model.embed(query);
  return index.search(vector, { topK: 5 });
}

export async function embedAll(model: DINOv2, files: readonly File[]): Promise<Float32Array[]> {
  const vectors: Float32Array[] = [];
  for await (const { embedding } of model.embedAll(files)) if (embedding) vectors.push(embedding);
  return vectors;
}

export const names = (bytes: Uint8Array): string[] => [...parseSafetensors(bytes).tensors.keys()];

export async function searchFolder(folder: string): Promise<readonly Hit[]> {
  const model = await NodeDINOv2.fromPretrained('facebook/dinov2-small');
  const index = await NodeIndex.open(
    { folder: './photos.index' },
    { dim: model.config.embedDim, model: await identityInNode(model) },
  );
  const { added }: { readonly added: number } = await ingestFolder(index, model, folder).finished;
  for await (const { embedding } of model.embedAll(await imageFiles(`${folder}/**/*.jpg`)))
    if (embedding && added > 0) return index.search(embedding);
  return index.search(await model.embed('./cat.jpg'));
}
