// What Grafana's own schema says of the dashboards' JSON. tests/dashboards/test_schema.py puts the
// JSON behind it and lets tsc judge.
import type {
  AnnotationQuery,
  Dashboard,
  DataSourceRef,
  FieldConfig,
  GraphFieldConfig,
  MatcherConfig,
  Panel,
  RowPanel,
  VariableModel,
} from '@grafana/schema';
import type { PrometheusDataQuery } from '@grafana/schema/dist/esm/raw/composable/prometheus/dataquery/x/PrometheusDataQuery_types.gen';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { Options as TimeSeriesOptions } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON has the values of enums, not their names.
type Plain<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer U)[]
      ? Plain<U>[]
      : T extends object
        ? { [K in keyof T]: Plain<T[K]> }
        : T;

interface Override {
  matcher: MatcherConfig<string>;
  properties: { id: string; value: unknown }[];
}

// The published types leave options, custom fields and targets of a panel open; each plugin's are
// put in here, so that a misspelt one is an error.
type PanelOf<Type extends string, Options, Custom> = Omit<
  Panel,
  'type' | 'options' | 'fieldConfig' | 'targets'
> & {
  type: Type;
  options: Options;
  fieldConfig: {
    defaults: Omit<FieldConfig, 'custom'> & { custom?: Custom };
    overrides: Override[];
  };
  targets: (Omit<PrometheusDataQuery, 'datasource'> & { datasource: DataSourceRef })[];
};

// The published types are those of the server. The web application's have these fields too:
// TypedVariableModel of @grafana/data, PromQueryAnnotation of the Prometheus data source.
type Variable = Omit<VariableModel, 'datasource'> & {
  datasource?: DataSourceRef;
  includeAll?: boolean;
  allValue?: string;
  sort?: number;
};
type Annotation = AnnotationQuery & {
  expr: string;
  step: string;
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
  useValueForTime: boolean;
};

type Board = Omit<Dashboard, 'panels' | 'templating' | 'annotations'> & {
  panels: (
    | RowPanel
    | PanelOf<'timeseries', Omit<TimeSeriesOptions, 'timezone'>, GraphFieldConfig>
    | PanelOf<'stat', StatOptions, never>
  )[];
  templating: { list: Variable[] };
  annotations: { list: Annotation[] };
};
