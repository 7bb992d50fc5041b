// Watches a device for GPU objects that are created without a label.

/** Replaces the methods of `object` that create an object by methods that call `created`. */
function watch(object: object, created: (made: unknown, what: string) => void): void {
  for (let at = object; at !== Object.prototype; at = Object.getPrototypeOf(at) as object)
    for (const name of Object.getOwnPropertyNames(at)) {
      if (name.startsWith('_') || Object.hasOwn(object, name)) continue;
      const method = Reflect.getOwnPropertyDescriptor(at, name)?.value as unknown;
      if (typeof method !== 'function' || !/^(create|import|begin|finish)/.test(name)) continue;
      Object.defineProperty(object, name, {
        configurable: true,
        value: (...args: unknown[]): unknown => {
          const made: unknown = Reflect.apply(method, object, args);
          if (made instanceof Promise)
            void made.then(
              (each) => created(each, name),
              () => undefined,
            );
          else created(made, name);
          return made;
        },
      });
    }
}

/**
 * Watches a device, its command encoders and its textures. Returns the names of the methods that created an object
 * without a label, and the number of all objects.
 */
export function watchLabels(device: GPUDevice): {
  readonly unlabelled: string[];
  readonly made: Map<string, number>;
} {
  const unlabelled: string[] = [];
  const made = new Map<string, number>();
  const created = (object: unknown, what: string): void => {
    made.set(what, (made.get(what) ?? 0) + 1);
    if (typeof (object as GPUObjectBase).label !== 'string' || (object as GPUObjectBase).label === '')
      unlabelled.push(what);
    if (object instanceof Object && /^create(CommandEncoder|Texture)$/.test(what))
      watch(object as object, created);
  };
  watch(device, created);
  return { unlabelled, made };
}
