export declare const root: string;
export declare function pack(folder: string): string;
