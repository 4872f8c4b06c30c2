"""Names that command lines take, here since what they name is slow to import."""

# Of tasks whose data come with Python, scikit-learn, or a random generator.
TASKS = (
    "digits_mlp",
    "pixels",
    "teacher",
    "digits_cnn",
    "flower",
    "cancer",
    "text",
    "diabetes",
    "tuning",
    "digits_noisy",
    "rare",
)
# Of tasks that read image files.
IMAGES = ("fashion_mlp", "mnist", "fashion_mnist", "cifar10", "cifar100")
# Of the networks and the labels that Fashion-MNIST is learned by and with.
FASHION = tuple(
    f"{net}-{labels}"
    for net in ("mlp", "cnn", "resnet", "binary")
    for labels in ("clean", "wrong", "rare")
)
# A group of methods of the suite; it has more.
CORE = (
    "sgd",
    "sgd cosine",
    "sgd plateau",
    "mi sgd",
    "adamw",
    "adamw cosine",
    "adamw plateau",
    "mi adamw",
    "schedule-free adamw",
    "mi schedule-free",
    "dog",
    "adam",
    "rmsprop",
    "lars",
    "prodigy",
)
METHODS = (
    *CORE,
    "schedule-free sgd",
    "mechanic adam",
    "momo",
    "mi sgd variational",
    "mi sgd residual",
    "mi sgd proportional",
    "mi adamw residual",
    "mi sgd layer-wise",
    "mi adamw layer-wise",
    "mi sgd range test",
    "mi adamw range test",
)
# Methods that are given nothing.
UNTUNED = (
    "auto sgd",
    "auto adamw",
    "prodigy 1",
    "dog 1 + average",
    "mechanic adamw",
    "schedule-free adamw 0.0025",
    "adamw 3e-4",
    "adamw 1e-3",
    "adamw cosine 3e-4",
    "adamw cosine 1e-3",
)
# Methods on images, and those that are trained where a run takes half a minute.
PAPER = (
    "sgd",
    "sgd cosine",
    "sgd plateau",
    "sgd without momentum",
    "sgd annealed momentum",
    "mi sgd",
    "mi sgd range test",
    "lars",
    "rmsprop",
    "adam",
    "adamw",
    "adamw cosine",
    "schedule-free adamw",
    "prodigy",
    "yamadam",
    "mi adamw",
    "mi adamw range test",
)
PAPER_CORE = (
    "sgd",
    "sgd cosine",
    "mi sgd",
    "mi sgd range test",
    "adam",
    "rmsprop",
    "lars",
    "adamw",
    "adamw cosine",
    "schedule-free adamw",
    "mi adamw",
    "mi adamw range test",
)
# Sections of what is measured on an accelerator.
SECTIONS = (
    "check",
    "step",
    "layers",
    "average",
    "estimators",
    "range",
    "fashion",
)
# Sets of problems whose mutual information is known.
PROBLEMS = (
    "vectors, chosen on",
    "vectors, held out",
    "classes, chosen on",
    "classes, held out",
)
LANGUAGES = ("8k", "32k")
