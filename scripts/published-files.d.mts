export function promisedFiles(manifest: object): string[];
export function missingFiles(manifest: object, exists: (path: string) => boolean): string[];
export function existsIn(folder: string): (path: string) => boolean;
