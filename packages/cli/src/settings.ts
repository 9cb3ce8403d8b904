/** What a run is to be, from one place: the flags, the config file or a run folder. Texts of flags are not read yet. */
export interface Settings {
  readonly model?: string;
  /** `file`, `template` and options of the data source. */
  readonly data?: OptionValues;
  /** `name` and options. */
  readonly adapter?: OptionValues;
  readonly selector?: OptionValues;
  readonly optimizer?: OptionValues;
  readonly weights?: string;
  readonly backend?: string;
  readonly out?: string;
  readonly samples?: readonly string[];
  readonly sampleTokens?: unknown;
  readonly training: OptionValues;
}

export type OptionValues = Readonly<Record<string, unknown>>;

/** Lays settings over others. The options of another plugin are dropped with its name. */
export function layered(below: Settings, above: Settings): Settings {
  const plugin = (key: 'adapter' | 'selector' | 'optimizer') => {
    const [low, high] = [below[key], above[key]];
    const other = high?.name !== undefined && low?.name !== undefined && high.name !== low.name;
    const merged = other ? high : { ...low, ...high };
    return low || high ? { [key]: merged } : {};
  };
  return {
    ...below,
    ...above,
    ...(below.data || above.data ? { data: { ...below.data, ...above.data } } : {}),
    ...plugin('adapter'),
    ...plugin('selector'),
    ...plugin('optimizer'),
    training: { ...below.training, ...above.training },
  };
}
