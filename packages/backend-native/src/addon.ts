/** Address of a block of native memory; 0 is none. */
export type Pointer = number;

/** Address of a tensor's values, f32 or bf16: the lowest bit, which is 0 in an address, says bf16. */
export type Values = number;

/** A weight or other typed array that a kernel reads where it lies, or the address of tensor memory. */
export type Source = Pointer | Float32Array | Uint16Array | Int32Array;

/** The values of a frozen weight, or its codes in int8 or nf4. */
export type FrozenValues = Float32Array | Uint16Array | Int8Array | Uint8Array;

type Int8Product = (
  x: Values,
  codes: Int8Array,
  scales: Float32Array,
  y: Values,
  count: number,
  rows: number,
  columns: number,
) => void;

/** The kernels, as native/binding.cc exports them. Sizes are in values unless said. */
export interface Addon {
  /**
   * @param stays 1: not for a moment, but as an optimizer's state stays
   * @throws Error LFT_OUT_OF_MEMORY
   */
  alloc(bytes: number, stays?: number): Pointer;
  release(block: Pointer): void;
  write(target: Pointer, source: NodeJS.TypedArray): void;
  copy(target: Pointer, source: Source, bytes: number): void;
  read(source: Pointer, bytes: number): ArrayBuffer;
  /** bf16 values as f32. */
  widen(x: Values, y: Pointer, count: number): void;
  /** f32 values rounded to bf16. */
  narrow(x: Pointer, y: Values, count: number): void;
  bytesInUse(): number;
  bytesPooled(): number;
  trim(): void;
  /** The version of oneDNN, and the instructions that it uses here, a dnnl_cpu_isa_t. */
  describe(): { readonly oneDnn: string; readonly isa: number };
  /** Bytes of an open file from `offset` on, where the system keeps them; unmapped when the buffer is collected. @throws Error LFT_NATIVE */
  mapFile(file: number, offset: number, bytes: number, path: string): ArrayBuffer;
  /** Of a mapped file: this process holds the pages of these bytes no longer, until it reads them again. Nothing for other memory. */
  forgetPages(data: NodeJS.TypedArray): void;
  setThreads(count: number): void;
  unary(op: number, x: Pointer, y: Pointer, count: number): void;
  binary(
    op: number,
    a: Values,
    b: Values,
    out: Values,
    shape: Float64Array,
    aStrides: Float64Array,
    bStrides: Float64Array,
  ): void;
  reduce(op: number, x: Pointer, y: Pointer, outer: number, inner: number): void;
  softmax(x: Pointer, y: Pointer, rows: number, columns: number): void;
  permute(x: Pointer, out: Pointer, shape: Float64Array, strides: Float64Array): void;
  copyRows(
    source: Pointer,
    sourceBytes: number,
    target: Pointer,
    targetBytes: number,
    rows: number,
    bytes: number,
  ): void;
  fill(x: Pointer, count: number, value: number): void;
  /** Zeros. */
  clear(x: Values, bytes: number): void;
  gather(table: Source, ids: Source, out: Pointer, count: number, width: number): void;
  scatterAdd(ids: Source, x: Pointer, out: Pointer, count: number, width: number): void;
  /** c [rows, columns] = a·b, or added to it; with `bf16`, f32 operands are rounded for the matrix units. */
  matmul(
    a: Source,
    b: Source,
    c: Values,
    rows: number,
    inner: number,
    columns: number,
    transposeA: number,
    transposeB: number,
    bf16: number,
    adds: number,
  ): void;
  /** Whether the processor has int8 units, and the sums of such a weight fit them: 1 or 0. */
  takesInt8(rows: number, columns: number): number;
  /** y [count, rows] = x·Wᵀ for W [rows, columns] in int8; rows of x are rounded to int8. */
  int8Product: Int8Product;
  /** dx [count, columns] = dy·W, or added to it. */
  int8InputGradient(...product: [...Parameters<Int8Product>, adds: number]): void;
  /** Into bf16. */
  unpackInt8(codes: Int8Array, scales: Float32Array, out: Pointer, rows: number, columns: number): void;
  unpackNf4(codes: Uint8Array, scales: Float32Array, out: Pointer, rows: number, columns: number): void;
  /** y = x·Wᵀ for a few rows of x and int8 (Int8Array) or nf4 codes. @returns 0 where there is no such product, or x has more rows */
  vectorProduct(
    x: Values,
    codes: Int8Array | Uint8Array,
    scales: Float32Array,
    y: Values,
    count: number,
    rows: number,
    columns: number,
  ): number;
  /** Whether there are such products for rows of so many columns in the format of these values or codes: 1 or 0. */
  takesVectorProduct(values: FrozenValues, columns: number): number;
  /**
   * A block of a decoder for one token. `keys` and `values` end in the token's own, which are written.
   * @param weights of q, k, v, o, gate, up and down: values or codes, and scales or 0
   */
  decodeBlock(
    x: Pointer,
    y: Pointer,
    keys: Values,
    values: Values,
    cos: Pointer,
    sin: Pointer,
    inputNorm: Source,
    outputNorm: Source,
    ...weights: [...(FrozenValues | Float32Array | 0)[], sizes: Float64Array]
  ): void;
  rmsNorm(x: Values, weight: Pointer, epsilon: number, y: Values, inverse: Pointer, rows: number, width: number): void;
  rmsNormWeightGradient(dy: Values, x: Values, inverse: Pointer, dw: Pointer, rows: number, width: number): void;
  rmsNormGradient(
    dy: Values,
    x: Values,
    weight: Pointer,
    inverse: Pointer,
    dx: Values,
    rows: number,
    width: number,
    adds: number,
  ): void;
  rotary(
    x: Values,
    cos: Pointer,
    sin: Pointer,
    y: Values,
    rows: number,
    heads: number,
    width: number,
    direction: number,
  ): void;
  swiglu(gate: Values, up: Values, y: Values, count: number): void;
  swigluGradients(dy: Values, gate: Values, up: Values, dgate: Values, dup: Values, count: number): void;
  attention(q: Pointer, k: Pointer, v: Pointer, o: Pointer, logSum: Pointer, ...shape: AttentionShape): void;
  attentionGradients(
    dO: Pointer,
    q: Pointer,
    k: Pointer,
    v: Pointer,
    o: Pointer,
    logSum: Pointer,
    dq: Pointer,
    dk: Pointer,
    dv: Pointer,
    ...shape: AttentionShape
  ): void;
  /** low [rank, rows] = scale·A·xᵀ, y += lowᵀ·Bᵀ. */
  lowRank(x: Values, a: Pointer, b: Pointer, low: Values, y: Values, ...shape: LowRankShape): void;
  /** `x`, `da` and `db` may be 0, and `dx`, which may be added to. `low` is held as x is. */
  lowRankGradients(
    dy: Values,
    x: Values,
    a: Pointer,
    b: Pointer,
    low: Values,
    dx: Values,
    da: Pointer,
    db: Pointer,
    adds: number,
    ...shape: LowRankShape
  ): void;
  /** Gives the summed loss; `dh` and `dw` may be 0. */
  linearCrossEntropy(
    h: Values,
    weight: Source,
    targets: Int32Array,
    dh: Pointer,
    dw: Pointer,
    rows: number,
    vocabulary: number,
    width: number,
    bf16: number,
  ): number;
  /** In place. What is held in bf16 is rounded stochastically, by the seed. */
  adamw(
    p: Values,
    m: Values,
    v: Values,
    g: Pointer,
    count: number,
    step: number,
    learningRate: number,
    weightDecay: number,
    beta1: number,
    beta2: number,
    epsilon: number,
    torch: number,
    seed: number,
  ): void;
  squaredNorm(x: Pointer, count: number): number;
}

export type AttentionShape = [
  batch: number,
  queries: number,
  keys: number,
  heads: number,
  kvHeads: number,
  width: number,
  scale: number,
  segments: Source,
  /** 1 where all tensors but logSum are bf16, 0 where they are f32. */
  bf16: number,
];

export type LowRankShape = [rows: number, inputs: number, outputs: number, rank: number, scale: number, bf16: number];
