// Fingerprints, identities and PCA bases made by a build of commit 85ff786 are still valid.
import { expect, test } from 'vitest';
import { DINOv2, PCA } from '../../src/index.ts';
import { modelIdentity } from '../../src/search.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { jsonFixture, type KeptModels, type KeptPca } from './fixtures.ts';

const device = await sharedDevice();
const kept = jsonFixture<KeptModels>('models.json');
const load = (kind: string): Promise<DINOv2> =>
  DINOv2.fromPretrained(`./test/fixtures/reference/tiny-${kind}`, { device, selfTest: false });

test.each(['plain', 'registers', 'swiglu'] as const)(
  'the fingerprint of tiny-%s is the same',
  async (kind) => {
    using model = await load(kind);
    expect(await model.fingerprint()).toBe(kept[kind]);
  },
);

test('the fingerprint of a model with synthetic weights is the same', async () => {
  using model = await DINOv2.synthetic(kept.config, { device, selfTest: false });
  expect(await model.fingerprint()).toBe(kept.synthetic);
});

test('the identity is the same for every set of options', async () => {
  using model = await load('plain');
  expect(kept.identities.length).toBeGreaterThan(5);
  for (const { options, identity } of kept.identities)
    expect(await modelIdentity(model, options)).toEqual(identity);
});

test('a stored PCA basis is read, written unchanged, and draws the same picture', async () => {
  const { height, width, pictures } = jsonFixture<KeptPca>('pca.json');
  using model = await load('registers');
  const pixels = Float32Array.from(
    { length: 3 * height * width },
    (_, i) => 2 * Math.sin(i / 97) * Math.cos(i / 1013),
  );
  using features = await model.forward(pixels, { height, width });
  for (const { json, rgba } of pictures) {
    const pca = PCA.fromJSON(json);
    expect(JSON.parse(JSON.stringify(pca))).toEqual(json);
    const right = Buffer.from(rgba, 'base64');
    const found = await pca.rgb(features);
    expect(found.length).toBe(right.length);
    // Features from another adapter differ in their last bits, which can change a rounded colour by one.
    const worst = found.reduce((most, value, i) => Math.max(most, Math.abs(value - right[i]!)), 0);
    expect(worst).toBeLessThanOrEqual(1);
  }
});
