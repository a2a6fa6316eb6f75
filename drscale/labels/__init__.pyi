from .docs2query import train_docs2query as train_docs2query
from .generate import hub_generator as hub_generator
from .queries import annotate as annotate
from .queries import crop_sentences as crop_sentences
from .queries import generate_queries as generate_queries
from .queries import inverse_cloze as inverse_cloze
from .queries import share_copied as share_copied
from .supervision import supervision_quality as supervision_quality
