/** Source file of each entry of the package, by the entry's name. */
export const ENTRIES: Readonly<Record<string, string>>;
/** Writes the published declarations into a folder. */
export function buildTypes(folder: string): Promise<void>;
