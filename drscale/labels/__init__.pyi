from .supervision import supervision_quality as supervision_quality
