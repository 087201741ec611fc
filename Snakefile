# Both papers, from the data to a report: `make reproduce`, or without make `snakemake --cores 2`.
# What would run, and why: `snakemake -n`. Settings, GPUs and clusters: docs/gpu-and-clusters.md.
#
#     data -> trainings (04, 07) -> tables (05, 07) and figures (08) -> report
#
# A job executes one of the notebooks by papermill (workflow/execute.py); workflow/plan.py says which
# jobs there are and on which files each depends. All paths below lie in the folder of the runs.
import os
import shlex
import sys

from snakemake.utils import min_version

from workflow import plan, progress, report

min_version("9.20")
here = workflow.resource_settings.nodes is None  # the jobs run on this machine
try:
    chosen = plan.settings(config, os.environ, here)
    jobs = plan.jobs(chosen)
    if workflow.is_main_process and not workflow.output_settings.dryrun:
        plan.prepare(chosen, jobs)
except (ValueError, OSError) as error:
    print(error, file=sys.stderr)
    sys.exit(2)
if here and chosen.gpus and "gpu" not in workflow.global_resources:  # without --resources gpu=...
    workflow.global_resources["gpu"] = plan.count_gpus()
os.environ["SNAKEMAKE_PID"] = str(os.getpid())  # a job ends with this process
os.environ["RUNS_PER_JOB"] = str(chosen.runs_per_job)  # for the Snakemake of a job on a cluster

FOLDER = chosen.protocol + "/{dataset}"
PAPERS = ("data", "theory", "cracks", "added", "figure 8", "roads", "results")
watch = progress.Progress(
    {key: [run.as_dict() for run in job.trains] for key, job in jobs.items()},
    chosen.runs / chosen.protocol,
    slots=2 if here else workflow.resource_settings.nodes,
    cluster=not here,
)


def job_of(wildcards, name=None):
    """The job that writes a rule's notebook."""
    return jobs[f"{wildcards.dataset}/{name or wildcards.name}"]


def call(wildcards, name=None):
    """What the job's script is called with."""
    return plan.call(job_of(wildcards, name), chosen)


def sources(script, notebook=None):
    """The files that a script, and the notebook that it executes, depend on."""
    paths = list(plan.sources(plan.ROOT / "workflow" / script))
    if notebook:
        paths += plan.sources(plan.NOTEBOOKS / f"{notebook}.ipynb")
    return [os.path.relpath(path, chosen.runs) for path in paths]


def notebook_sources(wildcards):
    """The files that a job depends on."""
    return sources("execute.py", job_of(wildcards).notebook)


def executed(dataset=None, *parts):
    """The executed notebooks of these parts, without those of jobs that failed in this call."""
    return [
        f"{chosen.protocol}/{key.replace('/', '/notebooks/')}.ipynb"
        for key, job in jobs.items()
        if dataset in (None, job.dataset) and job.part in parts and key not in plan.FAILED
    ]


workdir: chosen.runs


wildcard_constraints:
    dataset="[^/]+",


rule reproduce:
    input:
        f"{chosen.protocol}/report/index.html",


# paper A's 17 settings, each with its four networks
rule grid:
    input:
        [f"{chosen.protocol}/{chosen.names[data]}/tables/networks.csv" for data in chosen.cracks],


# a notebook that reads no records: the data, the losses by hand, the audit
rule notebook:
    input:
        notebook_sources,
    output:
        FOLDER + "/notebooks/{name}.ipynb",
    log:
        FOLDER + "/notebooks/{name}.log",
    params:
        call=call,
    wildcard_constraints:
        name="0[123]_[a-z_]+",
    threads: max(1, (workflow.resource_settings.cores or 2) // 2)  # two jobs at a time
    retries: 1
    script:
        "workflow/execute.py"


use rule notebook as train with:
    wildcard_constraints:
        name="(04_train_cracks|07_drivable_area)-.+",
    resources:
        gpu=chosen.gpus,
        **plan.several_machines(chosen),


use rule notebook as crack_tables with:
    input:
        sources("execute.py", "05_threshold_sweeps"),
        trainings=lambda wildcards: executed(wildcards.dataset, "cracks", "added"),
    output:
        FOLDER + "/notebooks/05_threshold_sweeps.ipynb",
        [f"{FOLDER}/tables/table{number}.csv" for number in plan.published.TABLES],
    log:
        FOLDER + "/notebooks/05_threshold_sweeps.log",
    params:
        call=lambda wildcards: call(wildcards, "05_threshold_sweeps"),


use rule notebook as road_table with:
    input:
        sources("execute.py", "07_drivable_area"),
        trainings=lambda wildcards: executed(wildcards.dataset, "roads"),
    output:
        FOLDER + "/notebooks/07_drivable_area.ipynb",
        FOLDER + "/tables/iou_table.csv",
    log:
        FOLDER + "/notebooks/07_drivable_area.log",
    params:
        call=lambda wildcards: call(wildcards, "07_drivable_area"),


use rule notebook as figures with:
    input:
        sources("execute.py", "08_figures"),
        cracks=lambda wildcards: executed(wildcards.dataset, "cracks", "added", "figure 8"),
        roads=executed(chosen.names[chosen.roads], "roads"),
    output:
        FOLDER + "/notebooks/08_figures.ipynb",
        directory(FOLDER + "/figures"),
    log:
        FOLDER + "/notebooks/08_figures.log",
    params:
        call=lambda wildcards: call(wildcards, "08_figures"),


# the measurements of paper A's tables, for each of its networks
rule networks:
    input:
        sources("networks.py"),
        trainings=lambda wildcards: executed(wildcards.dataset, "cracks", "grid"),
    output:
        FOLDER + "/tables/networks.csv",
    params:
        networks=plan.NETWORKS,
        parameters=lambda wildcards: job_of(wildcards, "05_threshold_sweeps").parameters,
    localrule: True
    script:
        "workflow/networks.py"


# pages with the docstrings of the package
rule reference:
    input:
        [os.path.relpath(path, chosen.runs) for path in sorted(plan.PACKAGE.rglob("*.py"))],
    output:
        f"{chosen.protocol}/report/{report.REFERENCE}",
    params:
        folder=f"{chosen.protocol}/report/reference",
    localrule: True
    shell:
        f"{shlex.quote(sys.executable)} -m pdoc crackutils --no-show-source -o {{params.folder:q}}"


rule report:
    input:
        sources("report.py"),
        f"{chosen.protocol}/report/{report.REFERENCE}",
        notebooks=executed(None, *PAPERS),
    output:
        f"{chosen.protocol}/report/index.html",
    localrule: True
    script:
        "workflow/report.py"


onstart:
    watch.begin(workflow.dag.needrun_jobs(), workflow.output_settings.quiet)
    watch.end_on_signals(here)


onsuccess:
    if any(job.rule.name == "report" for job in workflow.dag.jobs):
        report.conclude(executed(None, *PAPERS))
    watch.conclude(chosen.runs / chosen.protocol / "report")


onerror:
    watch.fail(workflow.scheduler, plan.FAILED, workflow.workdir_init)
